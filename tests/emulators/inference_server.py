"""Microsoft's inference server, really started, for the emulators of what serves models."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests
import yaml

from adbazureml.deployment.targets.local import environments

from .loaded_interpreter import HIDDEN, LoadedProcess, loaded_interpreter

_MODULE = "azureml_inference_server_http"


def interpreter_for(requirements: str | Path) -> Path:
    """The Python of an environment that has what a ``requirements.txt`` or ``conda.yaml`` (a path) lists.

    Each list is installed once in a test session, in seconds where uv has the packages.
    """
    text = Path(requirements).read_text(encoding="utf-8")
    if Path(requirements).suffix in (".yaml", ".yml"):
        pins = next(part["pip"] for part in yaml.safe_load(text)["dependencies"] if isinstance(part, dict))
    else:
        pins = [line for line in text.splitlines() if line.strip()]
    return environments.interpreter(pins, progress=print)


class InferenceServer:
    """A folder served as Azure's images do it: ``azmlinfsrv`` with a script and a model, in the folder's environment.

    >>> server = InferenceServer(script=folder.code / "score.py", model=folder.model, requirements=folder.conda)
    >>> server.wait()  # RuntimeError with the log, if it never gets healthy
    >>> requests.post(f"{server.url}/score", json={"inputs": …})
    >>> server.stop()

    Parameters
    ----------
    script, model : path
        The scoring script; the folder that ``AZUREML_MODEL_DIR`` names.
    requirements : path
        ``requirements.txt`` or ``conda.yaml``.
    environment : mapping
        More environment variables.
    directory : path
        Working directory; without, that of the script.
    loaded : bool
        Fork it from an interpreter that has loaded what it imports, rather than let it load that for seconds.
    """

    def __init__(
        self,
        *,
        script: str | Path,
        model: str | Path,
        requirements: str | Path,
        environment: Mapping[str, str] | None = None,
        directory: str | Path | None = None,
        loaded: bool = False,
    ) -> None:
        python = interpreter_for(requirements)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = Path(script).parent
        self.log_path = self.folder.parent / f"server-{self.port}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)}
        seen = {**inherited, "AML_APP_ROOT": str(self.folder), "PYTHONUNBUFFERED": "1", **(environment or {})}
        options = ["--entry_script", str(script), "--model_dir", str(model), "--port", str(self.port)]
        self.process = self._start(python, options, Path(directory or self.folder), seen, loaded=loaded)

    def _start(
        self, python: Path, options: Sequence[str], folder: Path, environment: Mapping[str, str], *, loaded: bool
    ) -> subprocess.Popen[bytes] | LoadedProcess:
        if loaded:
            interpreter = loaded_interpreter(python)
            return interpreter.run(_MODULE, options, folder=folder, environment=environment, log=self.log_path)
        with self.log_path.open("wb") as log:
            return subprocess.Popen(
                [python, "-m", _MODULE, *options],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def died(self) -> bool:
        return self.process.poll() is not None

    def is_healthy(self) -> bool:
        try:
            return bool(requests.get(self.url, timeout=5).ok)
        except requests.RequestException:
            return False

    def log(self) -> str:
        """What it printed, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log_path.read_text(encoding="utf-8", errors="replace"))

    def wait(self, seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while not self.is_healthy():
            if self.died or time.monotonic() > deadline:
                raise RuntimeError(f"the inference server is not healthy:\n{self.log()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it and its worker; again is no error."""
        if not self.died:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, 9)
                self.process.wait()

    def __enter__(self) -> InferenceServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
