"""Both halves of an emulated Databricks workspace at one address: tracking and artifacts, and all else."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from tests.emulators.databricks import DatabricksEmulator
from tests.emulators.databricks_mlflow import Answer, DatabricksMLflow, _error

_MLFLOW = ("/api/2.0/mlflow/", "/api/2.0/fs/", "/signed/")
_REGISTRY = "/api/2.0/mlflow/unity-catalog/"


class WholeWorkspace(DatabricksMLflow):
    """Tracking, and what it does not know from the other emulator; a Unity Catalog without models."""

    def __init__(self, mlflow_url: str, folder: Path, rest: DatabricksEmulator) -> None:
        super().__init__(mlflow_url, folder)
        self._rest = rest

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        path = urlsplit(target).path
        if path.startswith(_REGISTRY):
            if "search" in path:
                return Answer(200, b"{}", {"Content-Type": "application/json"})
            return _error(404, "RESOURCE_DOES_NOT_EXIST", "Registered model does not exist.")
        if path.startswith(_MLFLOW):
            return super().answer(method, target, headers, body)
        there = urlsplit(self._rest.host)
        connection = HTTPConnection(there.hostname or "", there.port, timeout=60)
        kept = {key: value for key, value in headers.items() if key.lower() in ("authorization", "content-type")}
        connection.request(method, target, body, kept)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        told = {"Content-Type": "application/json"}
        if org := answer.headers.get("X-Databricks-Org-Id"):
            told["X-Databricks-Org-Id"] = org
        return Answer(answer.status, content, told)
