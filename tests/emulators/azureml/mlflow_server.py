"""A real MLflow tracking server and registry on SQLite, in this process and private to one emulator."""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
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

    def __init__(self, folder: Path) -> None:
        database = folder / "mlflow.db"
        database.write_bytes(_empty_database())
        self._stores = _open(database)
        for store in self._stores:
            # Nothing here has to survive a crash of the machine.
            sqlalchemy.event.listen(store.engine, "connect", _without_waiting_for_the_disk)
            store.engine.dispose()
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
        self._lock = threading.Lock()

    def call(self, method: str, path: str, asked: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and JSON that the server answers; ``asked`` goes into the query of a GET, else into the body."""
        said: dict[str, Any] = {"query_string": asked} if method == "GET" else {"json": asked}
        address = f"/api/2.0/{path}"
        handler = self._routes.get((method, address))
        if handler is None:
            return 405, {"error_code": "ENDPOINT_NOT_FOUND", "message": f"{method} is not allowed at {path}."}
        # One at a time, as SQLite takes one writer only.
        with self._lock, self._application.test_request_context(address, method=method, **said):
            response = handler()
        return response.status_code, json.loads(response.data or b"{}")

    def close(self) -> None:
        for store in self._stores:
            store.engine.dispose()
        del sys.modules[self._handlers.__name__]


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
def _empty_database() -> bytes:
    """Going through the schema's history takes a second or two: once a process is enough."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "mlflow.db"
        for store in _open(database):
            store.engine.dispose()
        return database.read_bytes()


def _without_waiting_for_the_disk(connection: Any, _: object) -> None:
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
