"""Python environments on this machine for endpoints, made once for each set of requirements."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from adbazureml import runtime
from adbazureml.deployment.model_environment import uv_program
from adbazureml.deployment.target import Progress
from adbazureml.errors import DeploymentError

_READY = "ready"
_POLL_S = 0.2


def interpreter(requirements: Sequence[str], *, progress: Progress) -> Path:
    """Return the Python of an environment that has these packages; the first time they are installed.

    Environments are in the folder ``environments`` of the local folder, some 320 MB each. They have this interpreter's
    version of Python.

    Parameters
    ----------
    requirements : sequence of str
        As pip takes them.
    progress : callable
        Called with a short text while it is made.

    Raises
    ------
    DeploymentError
        The packages can't be installed; with the installer's last lines.
    """
    # An environment names its own place in its files: not by way of a link, and never found again where it was moved.
    kept = (runtime.home() / "environments").resolve()
    key = hashlib.sha256(json.dumps([sys.version, str(kept), *requirements]).encode()).hexdigest()[:16]
    folder = kept / key
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "bin" / "python"
    with (folder.parent / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _READY).exists():
            listed = folder.parent / f"{key}.txt"
            listed.write_text("\n".join(requirements) + "\n", encoding="utf-8")
            try:
                for command in _commands(folder, python, listed):
                    _run(command, folder.parent / f"{key}.log", progress)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            (folder / _READY).touch()
    return python


def _commands(folder: Path, python: Path, listed: Path) -> list[list[str]]:
    if uv := uv_program():
        return [
            [uv, "venv", "--quiet", "--allow-existing", "--no-config", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", "--no-config", "--python", str(python), "-r", str(listed)],
        ]
    quiet = ["--quiet", "--disable-pip-version-check"]
    return [
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", *quiet, "-r", str(listed)],
    ]


def _run(command: list[str], log: Path, progress: Progress) -> None:
    began = time.monotonic()
    with log.open("w+", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            while process.poll() is None:
                progress(f"installing the inference server, once, {time.monotonic() - began:.0f} s")
                time.sleep(_POLL_S)
        except BaseException:
            process.kill()
            process.wait()
            raise
        output.seek(0)
        if process.returncode:
            said = " ".join(output.read().split()[-60:])
            raise DeploymentError(f"The inference server could not be installed: {said}")
