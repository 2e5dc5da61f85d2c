"""A real MLflow tracking server and registry on SQLite, in this process and of one emulator at a time."""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
import sqlite3
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import sqlalchemy
from flask import Flask
from mlflow.server import handlers
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore


class MLflowServer:
    """Answers MLflow's REST API by the handlers of the installed MLflow."""

    def __init__(self) -> None:
        self._backend: _Backend | None = _free.pop() if _free else _Backend()
        self._backend.empty()
        self._lock = threading.Lock()

    def call(self, method: str, path: str, asked: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and JSON that the server answers; ``asked`` goes into the query of a GET, else into the body."""
        # One at a time, as SQLite takes one writer only.
        with self._lock:
            if self._backend is None:
                return 503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "The server was closed."}
            return self._backend.call(method, path, asked)

    def close(self) -> None:
        """Leave the stores to the next server: opening them takes as long as many a test."""
        with self._lock:
            if self._backend is not None:
                _free.append(self._backend)
                self._backend = None


class _Backend:
    """Stores in a folder of their own, and handlers for them, which serve one server after the other."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="azureml-mlflow-", ignore_cleanup_errors=True)
        self._database = Path(self._folder.name) / "mlflow.db"
        self._database.write_bytes(empty_database())
        self._stores = _open(self._database)
        for store in self._stores:
            sqlalchemy.event.listen(store.engine, "connect", without_waiting_for_the_disk)
        self._handlers = _private_handlers()
        vars(self._handlers).update(_tracking_store=self._stores[0], _model_registry_store=self._stores[1])
        # The handlers read what was asked from Flask's request; its routing is not needed.
        self._application = Flask(self._handlers.__name__)
        self._routes = {
            (method, path): handler
            for path, handler, methods in self._handlers.get_endpoints()
            for method in methods
            if path.startswith("/api/2.0/")
        }
        # Imports what a request imports first: in a thread of the emulator, that and an import under MLflow's import
        # hooks in the test's own may wait for each other.
        self.call("POST", "mlflow/experiments/search", {"max_results": 1})

    def empty(self) -> None:
        """Forget all that was ever asked."""
        for store in self._stores:
            store.engine.dispose()
        for beside in self._database.parent.glob("mlflow.db-*"):
            beside.unlink()
        self._database.write_bytes(empty_database())

    def call(self, method: str, path: str, asked: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        said: dict[str, Any] = {"query_string": asked} if method == "GET" else {"json": asked}
        address = f"/api/2.0/{path}"
        handler = self._routes.get((method, address))
        if handler is None:
            return 405, {"error_code": "ENDPOINT_NOT_FOUND", "message": f"{method} is not allowed at {path}."}
        with self._application.test_request_context(address, method=method, **said):
            response = handler()
        return response.status_code, json.loads(response.data or b"{}")


# Those that no server uses now.
_free: list[_Backend] = []


def _private_handlers() -> ModuleType:
    """A copy of MLflow's handlers: they keep their stores in globals, which two servers in one process would share."""
    name = f"mlflow_handlers_{uuid.uuid4().hex}"
    spec = importlib.util.spec_from_file_location(name, handlers.__file__)
    if spec is None or spec.loader is None:
        raise ImportError(handlers.__file__)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _open(database: Path) -> tuple[TrackingStore, RegistryStore]:
    uri = f"sqlite:///{database}"
    with _quiet():
        return TrackingStore(uri, "mlflow-artifacts:/"), RegistryStore(uri)


@functools.cache
def empty_database() -> bytes:
    """The file of a store that was never used: going through the schema's history takes seconds, and is done once."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "mlflow.db"
        for store in _open(database):
            store.engine.dispose()
        return database.read_bytes()


def without_waiting_for_the_disk(connection: Any, _: object) -> None:
    """Take a store that need not survive a crash of the machine; what is no SQLite connection is left as it is."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


@contextmanager
def _quiet() -> Iterator[None]:
    """Making the tables logs a line for each step of the schema's history."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)
