"""The machine learning side of a Databricks workspace on loopback: tracking, logged models, artifacts.

Tracking is a real MLflow server behind it. Artifacts are where Databricks has them, under ``dbfs:/databricks/…``, and
are reached as there: through the Files API, or by signed addresses of Azure storage.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from tests.emulators.databricks import TOKEN

_API = "/api/2.0"
_ROOT = f"{_API}/fs/files/WorkspaceInternal/Mlflow/Artifacts"
_DIRECTORIES = f"{_API}/fs/directories/WorkspaceInternal/Mlflow/Artifacts"


@dataclass(frozen=True)
class Answer:
    status: int
    content: bytes
    headers: Mapping[str, str]


class DatabricksMLflow:
    """A workspace that listens while its ``with`` block runs.

    >>> with DatabricksMLflow(mlflow_server.url, folder) as databricks:
    ...     os.environ["DATABRICKS_HOST"], os.environ["DATABRICKS_TOKEN"] = databricks.host, TOKEN
    ...     mlflow.set_tracking_uri("databricks")

    Attributes
    ----------
    files_api : bool
        Whether the Files API serves artifacts; signed addresses do otherwise.
    folders : set of str
        Workspace folders that exist; an experiment's parent must.
    """

    def __init__(self, mlflow_url: str, folder: Path) -> None:
        parts = urlsplit(mlflow_url)
        self._mlflow = parts.hostname or "", parts.port or 80
        self._artifacts = folder
        self._blocks: dict[str, bytes] = {}
        self.files_api = True
        self.folders = {"/Shared", "/Users/someone@example.com"}
        self.requests: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> DatabricksMLflow:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        url = urlsplit(target)
        path = unquote(url.path)
        self.requests.append(f"{method} {path}")
        query = dict(parse_qsl(url.query))
        if path.startswith("/signed/"):
            return self._signed(method, path.removeprefix("/signed/"), query, body)
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return _error(403, "PERMISSION_DENIED", "Invalid access token.")
        if path.startswith((_ROOT, _DIRECTORIES)):
            return self._file(method, path, body) if self.files_api else _error(403, "PERMISSION_DENIED", "no")
        artifacts = self._artifacts_answer(path, {**query, **(json.loads(body) if body else {})})
        return artifacts or self._tracking_answer(method, target, headers, body)

    def _artifacts_answer(self, path: str, asked: dict[str, Any]) -> Answer | None:
        if re.fullmatch(rf"{_API}/mlflow/artifacts/credentials-for-(read|write)", path):
            return self._credentials(asked, "credential_infos")
        if match := re.fullmatch(rf"{_API}/mlflow/logged-models/([^/]+)/artifacts/credentials-for-\w+", path):
            return self._credentials({**asked, "model_id": match[1]}, "credentials")
        if path == f"{_API}/mlflow/artifacts/list":
            return self._list(asked)
        if match := re.fullmatch(rf"{_API}/mlflow/logged-models/([^/]+)/artifacts/directories", path):
            return self._list({**asked, "model_id": match[1]})
        return None

    def _tracking_answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        path = urlsplit(target).path
        if path == f"{_API}/mlflow/experiments/create" and (refused := self._refused(json.loads(body)["name"])):
            return refused
        if path == f"{_API}/workspace/mkdirs":
            self.folders.add(json.loads(body)["path"])
            return Answer(200, b"{}", {"Content-Type": "application/json"})
        if not path.startswith(f"{_API}/mlflow/"):
            return _error(404, "ENDPOINT_NOT_FOUND", f"No API found for '{method} {path}'")
        return self._tracking(method, target, headers, body)

    def _refused(self, name: str) -> Answer | None:
        if not name.startswith("/"):
            return _error(400, "INVALID_PARAMETER_VALUE", f"Got an invalid experiment name '{name}'. An absolute path.")
        if name.rpartition("/")[0] not in self.folders:
            return _error(404, "RESOURCE_DOES_NOT_EXIST", f"Workspace directory of '{name}' does not exist")
        return None

    def _tracking(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        server = HTTPConnection(*self._mlflow, timeout=60)
        kept = {key: value for key, value in headers.items() if key.lower() in ("content-type", "accept")}
        server.request(method, target, body, kept)
        answer = server.getresponse()
        content = answer.read().decode()
        server.close()
        content = content.replace("mlflow-artifacts:/", "dbfs:/databricks/mlflow-tracking/")
        content = re.sub(r"(mlflow-tracking/\w+)/models/m-", r"\1/logged_models/m-", content)
        return Answer(answer.status, content.encode(), {"Content-Type": "application/json"})

    def _file(self, method: str, path: str, body: bytes) -> Answer:
        place = self._artifacts / path.removeprefix(_ROOT).removeprefix(_DIRECTORIES).strip("/")
        if path.startswith(_DIRECTORIES):
            if not place.is_dir():
                return _error(404, "NOT_FOUND", f"The directory {path} is not found.")
            return _json({"contents": [self._entry(one) for one in sorted(place.iterdir())]})
        if method == "PUT":
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(body)
            return Answer(204, b"", {})
        if not place.is_file():
            return _error(404, "NOT_FOUND", f"The file {path} is not found.")
        return Answer(200, place.read_bytes(), {"Content-Type": "application/octet-stream"})

    def _entry(self, place: Path) -> dict[str, Any]:
        path = f"/WorkspaceInternal/Mlflow/Artifacts/{place.relative_to(self._artifacts)}"
        entry = {"path": path, "name": place.name, "is_directory": place.is_dir()}
        return entry if place.is_dir() else {**entry, "file_size": place.stat().st_size}

    def _folder(self, asked: Mapping[str, Any]) -> Path:
        """Where a run's or model's artifacts are."""
        pattern = f"*/LoggedModels/{asked['model_id']}" if "model_id" in asked else f"*/Runs/{asked['run_id']}"
        found = next(self._artifacts.glob(pattern), None)
        if found is not None:
            return found / "artifacts"
        # The experiment of what has no artifact yet, as tracking knows it.
        kind = f"logged-models/{asked['model_id']}" if "model_id" in asked else f"runs/get?run_id={asked['run_id']}"
        known = json.loads(self._tracking("GET", f"{_API}/mlflow/{kind}", {}, b"").content)
        experiment_id = next(iter(known.values()))["info"]["experiment_id"]
        return self._artifacts / pattern.replace("*", experiment_id) / "artifacts"

    def _credentials(self, asked: dict[str, Any], key: str) -> Answer:
        folder = self._folder(asked).relative_to(self._artifacts)
        infos = []
        for path in asked.get("path") or asked.get("paths") or []:
            address = f"{self.host}/signed/{quote(f'{folder}/{path}')}?sig=x"
            signed = {"path": path, "signed_uri": address, "type": "AZURE_SAS_URI"}
            infos.append(signed if key == "credential_infos" else {"credential_info": signed})
        return _json({key: infos})

    def _signed(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Answer:
        place = self._artifacts / path
        if method == "GET":
            return Answer(200, place.read_bytes(), {}) if place.is_file() else Answer(404, b"", {})
        place.parent.mkdir(parents=True, exist_ok=True)
        if query.get("comp") == "block":
            self._blocks[f"{path} {query['blockid']}"] = body
        else:
            blocks = re.findall(r"<\w+>([^<]+)</\w+>", body.decode())
            place.write_bytes(b"".join(self._blocks.pop(f"{path} {block}") for block in blocks))
        return Answer(201, b"", {})

    def _list(self, asked: Mapping[str, Any]) -> Answer:
        root = self._folder(asked)
        folder = root / (asked.get("path") or asked.get("artifact_directory_path") or "")
        files = [
            {"path": str(one.relative_to(root)), "is_dir": one.is_dir()}
            | ({} if one.is_dir() else {"file_size": one.stat().st_size})
            for one in (sorted(folder.iterdir()) if folder.is_dir() else [])
        ]
        return _json({"files": files})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        emulator = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _respond(self) -> None:
                if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                    body = b""
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = emulator.answer(self.command, self.path, dict(self.headers.items()), body)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.content)

            def do_HEAD(self) -> None:
                self._respond()

            def do_GET(self) -> None:
                self._respond()

            def do_POST(self) -> None:
                self._respond()

            def do_PUT(self) -> None:
                self._respond()

            def do_PATCH(self) -> None:
                self._respond()

            def do_DELETE(self) -> None:
                self._respond()

            def log_message(self, *_: object) -> None:
                """Tests look at `requests`; nothing goes to the screen."""

        return Handler


def _json(content: object) -> Answer:
    return Answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})


def _error(status: int, error_code: str, message: str) -> Answer:
    content = json.dumps({"error_code": error_code, "message": message}).encode()
    return Answer(status, content, {"Content-Type": "application/json"})
