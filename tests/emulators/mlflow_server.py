"""A real MLflow server on loopback, in a process of its own."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from mlflow.server.constants import (
    ARTIFACT_ROOT_ENV_VAR,
    ARTIFACTS_DESTINATION_ENV_VAR,
    BACKEND_STORE_URI_ENV_VAR,
    REGISTRY_STORE_URI_ENV_VAR,
    SERVE_ARTIFACTS_ENV_VAR,
)

from . import loaded_processes
from .azureml.mlflow_server import empty_database


class MLflowServer:
    """Runs MLflow's server on a folder while its ``with`` block runs; artifacts go through the server.

    It ends with the process that started it, too, however that ends.

    >>> with MLflowServer(folder) as server:
    ...     client = MlflowClient(tracking_uri=server.url)
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._process: BaseProcess | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start without waiting until it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        database = self._folder / "mlflow.db"
        if not database.exists():
            database.write_bytes(empty_database())
        store = f"sqlite:///{database}"
        tracked = ("MLFLOW_", "_ADBAZUREML")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(tracked)} | {
            BACKEND_STORE_URI_ENV_VAR: store,
            REGISTRY_STORE_URI_ENV_VAR: store,
            ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
            ARTIFACTS_DESTINATION_ENV_VAR: str(self._folder / "artifacts"),
            SERVE_ARTIFACTS_ENV_VAR: "true",
        }
        # What ``mlflow server`` starts, without that program, which takes longer to load than the server itself.
        self._process = loaded_processes.serve(
            "mlflow.server.fastapi_app:app",
            port=self._port,
            folder=self._folder,
            log=self._folder / "server.log",
            environment=environment,
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
            self._process.kill()
            self._process.join()
