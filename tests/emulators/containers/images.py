"""Images, built from a source archive by its Dockerfile: a folder that stands for the root of the file system.

Of the instructions, those that need no other machine's binaries are done: files are copied, requirements are looked up
in a Python environment that stands for what the base image would have after ``pip install``.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_BASES = ("python:", "mcr.microsoft.com/")
_INSTALLED = "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions()]"


class BuildError(Exception):
    """A step of the build failed; the log says why."""


@dataclass
class Image:
    """What a build made.

    Attributes:
        root: folder in which the image's files are at their paths.
        workdir: where its command starts.
        environment: its variables.
        command: what it runs.
        digest: identity of the content.
    """

    root: Path
    workdir: str = "/"
    user: str = "root"
    environment: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    digest: str = ""

    def on_host(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def path(self, said: str) -> str:
        """A path in the image, as one from its root."""
        return said if said.startswith("/") else f"{self.workdir.rstrip('/')}/{said}"


def build(archive: Path, dockerfile: str, root: Path, python: Path, log: Callable[[str], None]) -> Image:
    """Build an image in the folder ``root``.

    Raises:
        BuildError: a step failed, with its reason.
    """
    context = root.with_name(f"{root.name}-source")
    with tarfile.open(archive) as source:
        source.extractall(context, filter="data")
    try:
        instructions = list(_instructions(context / dockerfile))
        root.mkdir()
        image = Image(root)
        for number, (name, said) in enumerate(instructions, 1):
            log(f"Step {number}/{len(instructions)} : {name} {said}")
            _STEPS[name](image, said, context, python)
        image.digest = _digest(image)
        log(f"Successfully built {image.digest[7:19]}")
        return image
    finally:
        shutil.rmtree(context)


def _instructions(dockerfile: Path) -> Iterator[tuple[str, str]]:
    if not dockerfile.is_file():
        raise BuildError(
            f"unable to prepare context: unable to evaluate symlinks in Dockerfile path: {dockerfile.name}"
        )
    for line in dockerfile.read_text().replace("\\\n", " ").splitlines():
        name, _, said = line.strip().partition(" ")
        if not name or name.startswith("#"):
            continue
        if name not in _STEPS:
            raise BuildError(f"Dockerfile parse error: unknown instruction: {name}")
        yield name, said.strip()


def _from(image: Image, said: str, *_: object) -> None:
    if not said.startswith(_BASES):
        raise BuildError(f"pull access denied for {said}, repository does not exist or may require 'docker login'")


def _workdir(image: Image, said: str, *_: object) -> None:
    image.workdir = image.path(said)
    image.on_host(image.workdir).mkdir(parents=True, exist_ok=True)


def _env(image: Image, said: str, *_: object) -> None:
    image.environment.update(part.split("=", 1) for part in shlex.split(said))


def _copy(image: Image, said: str, context: Path, _: Path) -> None:
    *sources, target = shlex.split(said)
    place = image.on_host(image.path(target))
    for name in sources:
        source = context / name
        if not source.exists():
            raise BuildError(f"COPY failed: file not found in build context: stat {name}: file does not exist")
        if source.is_dir():
            shutil.copytree(source, place, dirs_exist_ok=True)
        else:
            goal = place / source.name if target.endswith("/") or place.is_dir() else place
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, goal)


def _run(image: Image, said: str, _: Path, python: Path) -> None:
    words = shlex.split(said)
    if words[:2] == ["pip", "install"]:
        _install(image, words[2:], python)
    elif words[0] != "useradd":
        raise BuildError(f"/bin/sh: 1: {words[0]}: not found")


def _install(image: Image, words: list[str], python: Path) -> None:
    wanted, files = [], [words[number + 1] for number, word in enumerate(words) if word == "-r"]
    for name in files:
        file = image.on_host(image.path(name))
        if not file.is_file():
            raise BuildError(f"ERROR: Could not open requirements file: No such file or directory: '{name}'")
        wanted += [line.partition("#")[0].strip() for line in file.read_text().splitlines()]
    wanted += [word for word in words if not word.startswith("-") and word not in files]
    installed = _installed(python)
    for requirement in (Requirement(one) for one in wanted if one):
        if requirement.marker and not requirement.marker.evaluate():
            continue
        version = installed.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            raise BuildError(
                f"ERROR: Could not find a version that satisfies the requirement {requirement} (from versions: "
                f"{version or 'none'})\nERROR: No matching distribution found for {requirement}"
            )


@functools.cache
def _installed(python: Path) -> Mapping[str, str]:
    said = subprocess.run([python, "-c", _INSTALLED], capture_output=True, text=True, check=True).stdout
    return {canonicalize_name(name): version for name, version in map(str.split, said.splitlines())}


def _cmd(image: Image, said: str, *_: object) -> None:
    image.command = json.loads(said)


def _user(image: Image, said: str, *_: object) -> None:
    image.user = said


def _nothing(*_: object) -> None:
    """An instruction that only describes."""


_STEPS: Mapping[str, Callable[[Image, str, Path, Path], None]] = {
    "FROM": _from,
    "WORKDIR": _workdir,
    "ENV": _env,
    "COPY": _copy,
    "RUN": _run,
    "CMD": _cmd,
    "USER": _user,
    "EXPOSE": _nothing,
    "LABEL": _nothing,
}


def _digest(image: Image) -> str:
    content = hashlib.sha256(json.dumps([image.workdir, image.environment, image.command]).encode())
    for file in sorted(path for path in image.root.rglob("*") if path.is_file()):
        content.update(f"{file.relative_to(image.root)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return f"sha256:{content.hexdigest()}"
