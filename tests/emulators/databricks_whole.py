"""Both halves of an emulated Databricks workspace at one address: MLflow with Unity Catalog, and all else."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from tests.emulators.databricks import DatabricksEmulator
from tests.emulators.databricks_mlflow import Answer
from tests.emulators.unity_catalog import UnityCatalogMLflow

_MLFLOW = ("/api/2.0/mlflow/", "/api/2.0/fs/", "/signed/")


class WholeWorkspace(UnityCatalogMLflow):
    """Tracking and the registry, and what they do not know from the other emulator."""

    def __init__(self, mlflow_url: str, folder: Path, rest: DatabricksEmulator) -> None:
        super().__init__(mlflow_url, folder)
        self._rest = rest

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        path = urlsplit(target).path
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
