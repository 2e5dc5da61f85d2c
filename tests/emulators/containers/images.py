"""Images, built from a source archive by its Dockerfile: a folder that stands for the root of the file system.

There is no base image below it, so of what is run only the making of a Python environment is done, and really: from the
packages that the image's own file lists.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adbazureml.errors import DeploymentError

from ..inference_server import interpreter_for

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BASE = "mcr.microsoft.com/azureml/inference-base-2204:latest"


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
        links: folders of the image that are elsewhere on this machine: its Python environments.
    """

    root: Path
    workdir: str = "/"
    user: str = "root"
    environment: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    digest: str = ""
    links: dict[str, Path] = field(default_factory=dict)
    users: set[str] = field(default_factory=lambda: {"root"})

    def on_host(self, path: str) -> Path:
        for link, place in self.links.items():
            if path == link or path.startswith(f"{link}/"):
                return place / path.removeprefix(link).lstrip("/")
        return self.root / path.lstrip("/")

    def path(self, said: str) -> str:
        """A path in the image, as one from its root."""
        return said if said.startswith("/") else f"{self.workdir.rstrip('/')}/{said}"


def build(archive: Path, dockerfile: str, root: Path, log: Callable[[str], None]) -> Image:
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
            _STEPS[name](image, said, context)
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
    if said != _BASE:
        raise BuildError(f"pull access denied for {said}, repository does not exist or may require 'docker login'")


def _workdir(image: Image, said: str, *_: object) -> None:
    image.workdir = image.path(said)
    image.on_host(image.workdir).mkdir(parents=True, exist_ok=True)


def _env(image: Image, said: str, *_: object) -> None:
    for part in shlex.split(said):
        name, _, value = part.partition("=")
        image.environment[name] = value.replace("$PATH", image.environment.get("PATH", _PATH))


def _copy(image: Image, said: str, context: Path) -> None:
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


def _run(image: Image, said: str, _: Path) -> None:
    words = shlex.split(said)
    if words[0] == "useradd":
        image.users.add(words[-1])
        return
    if words[:3] != ["conda", "env", "create"]:
        raise BuildError(f"/bin/sh: 1: {words[0]}: not found")
    listed = image.on_host(image.path(words[words.index("--file") + 1]))
    if not listed.is_file():
        raise BuildError(f"EnvironmentFileNotFound: '{listed.name}' file not found")
    try:
        python = interpreter_for(listed)
    except DeploymentError as error:
        raise BuildError(f"Pip subprocess error:\n{error}\nCondaEnvException: Pip failed") from error
    image.links[words[words.index("--prefix") + 1]] = python.parent.parent


def _cmd(image: Image, said: str, *_: object) -> None:
    image.command = json.loads(said)


def _user(image: Image, said: str, *_: object) -> None:
    if said not in image.users:
        raise BuildError(f"unable to find user {said}: no matching entries in passwd file")
    image.user = said


def _nothing(*_: object) -> None:
    """An instruction that only describes."""


_STEPS: Mapping[str, Callable[[Image, str, Path], None]] = {
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
