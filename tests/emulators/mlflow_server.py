"""A real MLflow server on loopback, in processes of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen


class MLflowServer:
    """Runs ``mlflow server`` on a folder while its ``with`` block runs; artifacts go through the server.

    It ends with the process that started it, too, however that ends.

    >>> with MLflowServer(folder) as server:
    ...     client = MlflowClient(tracking_uri=server.url)
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start without waiting until it answers."""
        # Not above: this file is a program, too, which has no package.
        from .azureml.mlflow_server import empty_database

        self._folder.mkdir(parents=True, exist_ok=True)
        database = self._folder / "mlflow.db"
        if not database.exists():
            database.write_bytes(empty_database())
        store = f"sqlite:///{database}"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--backend-store-uri", store, "--artifacts-destination", str(self._folder / "artifacts")]
        command += ["--workers", "1"]
        tracked = ("MLFLOW_", "_ADBAZUREML")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(tracked)}
        with open(self._folder / "server.log", "wb") as log:
            # A session of its own: MLflow's parent process leaves its child behind when it alone is stopped.
            self._process = subprocess.Popen(
                [sys.executable, __file__, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self._folder,
                start_new_session=True,
            )

    def __enter__(self) -> MLflowServer:
        if self._process is None:
            self.start()
        until = time.monotonic() + 300
        while time.monotonic() < until:
            with suppress(URLError, OSError), urlopen(f"{self.url}/health", timeout=5):
                return self
            time.sleep(0.1)
        self.__exit__()
        raise TimeoutError((self._folder / "server.log").read_text())

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


if __name__ == "__main__":
    with subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL):
        # It ends when whoever started this has ended.
        sys.stdin.read()
        os.killpg(os.getpgid(0), signal.SIGKILL)
