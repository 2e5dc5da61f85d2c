"""What a model's environment needs: its own requirements and the inference server's, resolved together."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement

from adbazureml.errors import DeploymentError

if TYPE_CHECKING:
    from mlflow.models import Model

# Servers before 1.4 fail for MLflow models; without the second, Azure ML's own scoring of them crashes. The third reads
# requests where the server is started by us: on this machine and in a container.
SERVER = ("azureml-inference-server-http==1.5.1", "azureml-ai-monitoring==1.0.0", "waitress==3.0.2")
# These models load with the small distribution of MLflow, which leaves out 250 MB; it demands pandas of nobody.
_LOADED_BY_SKINNY = {"mlflow.sklearn"}
_BESIDE_SKINNY = ("numpy", "pandas<3")
_RESOLVE_TIMEOUT_S = 300
_UNREACHABLE = re.compile(
    r"error sending request|failed to fetch|dns error|timed out|connection (refused|reset)|NewConnectionError"
    r"|ConnectTimeoutError|No matching distribution.*none\)|network.*disabled",
    re.IGNORECASE,
)
_LONGEST_REASON = 600


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """Requirements of an environment, as they were asked for.

    Attributes
    ----------
    python : str
        Version of Python that the model was logged with, ``major.minor``.
    wanted : tuple of str
        Requirements as pip takes them: the model's, then the server's.
    """

    python: str
    wanted: tuple[str, ...]

    def resolve(self) -> tuple[str, ...]:
        """Return exact pins of all packages, for Linux; as wanted, with a warning, where no index answers.

        Raises
        ------
        DeploymentError
            The model's requirements do not fit together with the server's; with the resolver's reason.
        """
        try:
            return _resolved(self)
        except _NoIndexError as error:
            return self._unchecked(str(error))

    def _unchecked(self, reason: str) -> tuple[str, ...]:
        warnings.warn(
            f"The environment's requirements were not checked, as no package index answers: {reason}", stacklevel=2
        )
        return self.wanted


class _NoIndexError(Exception):
    """No package index answers; with the resolver's reason."""


# A process that deploys one model after the other asks the index for the same again and again, for seconds each time.
@functools.lru_cache(maxsize=64)
def _resolved(requirements: Requirements) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "requirements.in"
        listed.write_text("\n".join(requirements.wanted) + "\n", encoding="utf-8")
        uv = uv_program()
        command = _uv(uv, listed, requirements.python) if uv else _pip(listed, requirements.python, folder)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_RESOLVE_TIMEOUT_S, cwd=folder
            )
        except subprocess.TimeoutExpired:
            raise _NoIndexError(f"no answer within {_RESOLVE_TIMEOUT_S} s") from None
    if done.returncode:
        said = _explain_error(done.stderr)
        if _UNREACHABLE.search(done.stderr):
            raise _NoIndexError(said)
        raise DeploymentError(
            "The model's requirements do not resolve together with those of the inference server"
            f" ({', '.join(SERVER)}) on Python {requirements.python}: {said} Log the model with other pip_requirements."
        )
    options = tuple(line for line in requirements.wanted if line.startswith("-"))
    return (*options, *_pins(done.stdout))


def of_model(model_uri: str, model: Model) -> Requirements:
    """Read what a model needs from the files that were logged with it.

    Raises
    ------
    DeploymentError
        It has no requirements, or they can't be read.
    """
    from mlflow import pyfunc

    try:
        listed = Path(_quietly(pyfunc.get_model_dependencies, model_uri)).read_text(encoding="utf-8")
    except Exception as error:  # each kind of store has errors of its own
        raise DeploymentError(
            f"The requirements of {model_uri!r} can't be read ({_explain_error(str(error))}): log it with"
            " pip_requirements."
        ) from error
    own = [line.strip() for line in listed.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    flavor = model.flavors["python_function"]
    if flavor.get("loader_module") in _LOADED_BY_SKINNY:
        own = [_skinny(line) for line in own]
        named = {_name(line) for line in own}
        own += [line for line in _BESIDE_SKINNY if _name(line) not in named]
    version = str(flavor.get("python_version") or "{}.{}".format(*sys.version_info))
    return Requirements(python=".".join(version.split(".")[:2]), wanted=(*own, *SERVER))


def _quietly(function: Callable[..., str], *arguments: object) -> str:
    """Call MLflow without what it tells about pip."""
    import logging

    logger = logging.getLogger("mlflow.pyfunc")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        return function(*arguments)
    finally:
        logger.setLevel(before)


def _name(line: str) -> str:
    try:
        return Requirement(line).name.lower()
    except InvalidRequirement:
        return ""


def _skinny(line: str) -> str:
    return re.sub(r"^mlflow(?![\w-])(\[[^\]]*\])?", "mlflow-skinny", line) if _name(line) == "mlflow" else line


def uv_program() -> str | None:
    """Path of uv, which installs many times faster than pip: beside this interpreter, or on the PATH."""
    return shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")


def _uv(uv: str, listed: Path, python: str) -> list[str]:
    target = ["--python-version", python, "--python-platform", "x86_64-manylinux_2_28"]
    return [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-config", *target, str(listed)]


def _pip(listed: Path, python: str, folder: str) -> list[str]:
    # Only wheels can be looked at for another Python than this one; pip demands a target folder for it.
    target = ["--python-version", python, "--only-binary", ":all:", "--target", folder]
    options = ["--dry-run", "--quiet", "--ignore-installed", "--report", "-", "--disable-pip-version-check"]
    return [sys.executable, "-m", "pip", "install", *options, *target, "--requirement", str(listed)]


def _pins(output: str) -> tuple[str, ...]:
    """Exact pins from uv's list or pip's report."""
    import json

    if output.lstrip().startswith("{"):
        found = [item["metadata"] for item in json.loads(output)["install"]]
        return tuple(sorted(f"{package['name'].lower()}=={package['version']}" for package in found))
    return tuple(line.strip() for line in output.splitlines() if line.strip() and not line.startswith(("#", "-")))


def _explain_error(text: str) -> str:
    said = re.sub(r"[^\x00-\x7f]+|\s+", " ", re.sub(r"(?m)^warning:.*$", "", text)).strip()
    said = said if len(said) <= _LONGEST_REASON else f"{said[:_LONGEST_REASON]}…"
    return f"{said.rstrip('.')}."
