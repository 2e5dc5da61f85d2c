"""Microsoft's inference server, really started, for the emulators of what serves models."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import requests
import yaml

from adbazureml.deployment.targets.local import environments

# None of this process's settings reaches what would run on another machine.
HIDDEN = ("ADBAZUREML_", "MLFLOW_", "DATABRICKS_", "AZURE_", "AZUREML_", "AML_", "PYTHONPATH", "SPARK_", "PYSPARK_")


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
    """

    def __init__(
        self,
        *,
        script: str | Path,
        model: str | Path,
        requirements: str | Path,
        environment: Mapping[str, str] | None = None,
        directory: str | Path | None = None,
    ) -> None:
        python = interpreter_for(requirements)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = Path(script).parent
        self.log_path = self.folder.parent / f"server-{self.port}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)}
        self._log = self.log_path.open("wb")
        options = ["--entry_script", script, "--model_dir", model, "--port", str(self.port)]
        self.process = subprocess.Popen(
            [python, "-m", "azureml_inference_server_http", *options],
            cwd=directory or self.folder,
            env={**inherited, "AML_APP_ROOT": str(self.folder), "PYTHONUNBUFFERED": "1", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
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
        self._log.close()

    def __enter__(self) -> InferenceServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
