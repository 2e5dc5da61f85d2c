"""Notebooks, files and folders of the workspace."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.emulators.azureml.messages import Answer

from .routes import Asked, Routes, refused, required

if TYPE_CHECKING:
    from .emulator import DatabricksEmulator

LARGEST = 10 * 1024 * 1024


@dataclass
class Kept:
    """A notebook, a file or a folder."""

    kind: str
    content: bytes = b""
    language: str | None = None
    number: int = 0
    modified: int = field(default_factory=lambda: int(time.time() * 1000))


class Objects:
    """The tree of workspace objects, by path without ``/Workspace``.

    Attributes:
        kept: what is there.
        read_only: folders in which the user may not write.
    """

    def __init__(self, workspace: DatabricksEmulator) -> None:
        self._workspace = workspace
        self.read_only: set[str] = set()
        self.kept: dict[str, Kept] = {}
        for folder in ("/", "/Shared", "/Users", f"/Users/{workspace.user_name}"):
            self.kept[folder] = Kept("DIRECTORY", number=len(self.kept) + 1)

    def routes(self) -> Routes:
        return {
            ("POST", "/api/2.0/workspace/import"): self._import,
            ("GET", "/api/2.0/workspace/export"): self._export,
            ("GET", "/api/2.0/workspace/list"): self._list,
            ("GET", "/api/2.0/workspace/get-status"): lambda asked: self._shown(*self._find(asked)),
            ("POST", "/api/2.0/workspace/mkdirs"): self._mkdirs,
            ("POST", "/api/2.0/workspace/delete"): self._delete,
        }

    def _import(self, asked: Asked) -> dict[str, Any]:
        path = _path(asked)
        content = required(asked, "content")
        content = content if isinstance(content, bytes) else base64.b64decode(content)
        if len(content) > LARGEST:
            raise refused(400, "MAX_NOTEBOOK_SIZE_EXCEEDED", "The notebook is larger than 10485760 bytes.")
        self._check_parent(path)
        before = self.kept.get(path)
        if before and str(asked.get("overwrite", "false")).lower() != "true":
            raise refused(400, "RESOURCE_ALREADY_EXISTS", f"Path ({path}) already exists.")
        if before and before.kind == "DIRECTORY":
            raise refused(400, "RESOURCE_ALREADY_EXISTS", f"Path ({path}) is a directory.")
        notebook = asked.get("format") == "JUPYTER" or (asked.get("format") == "AUTO" and path.endswith(".ipynb"))
        if notebook and not content.lstrip().startswith(b"{"):
            raise refused(400, "INVALID_PARAMETER_VALUE", f"The notebook {path} is no valid Jupyter notebook.")
        kind = "NOTEBOOK" if notebook or asked.get("format") == "SOURCE" else "FILE"
        self._put(path, Kept(kind, content, "PYTHON" if kind == "NOTEBOOK" else None))
        return {}

    def _export(self, asked: Asked) -> dict[str, Any] | Answer:
        _, kept = self._find(asked)
        if str(asked.get("direct_download", "")).lower() == "true":
            return Answer(200, kept.content, {"Content-Type": "application/octet-stream"})
        return {"content": base64.b64encode(kept.content).decode(), "file_type": "ipynb"}

    def _list(self, asked: Asked) -> dict[str, Any]:
        folder, kept = self._find(asked)
        if kept.kind != "DIRECTORY":
            return {"objects": [self._shown(folder, kept)]}
        inside = [item for item in sorted(self.kept.items()) if item[0] != "/" and _parent(item[0]) == folder]
        return {"objects": [self._shown(*item) for item in inside]} if inside else {}

    def _mkdirs(self, asked: Asked) -> dict[str, Any]:
        path = _path(asked)
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            folder = "/" + "/".join(parts[:depth])
            there = self.kept.get(folder)
            if there and there.kind != "DIRECTORY":
                raise refused(400, "RESOURCE_ALREADY_EXISTS", f"The path {folder} is not a directory.")
            if there is None:
                self._check_parent(folder)
                self._put(folder, Kept("DIRECTORY"))
        return {}

    def _delete(self, asked: Asked) -> dict[str, Any]:
        path, _ = self._find(asked)
        self._check_parent(path)
        inside = [one for one in self.kept if one.startswith(f"{path}/")]
        if inside and not asked.get("recursive"):
            raise refused(400, "DIRECTORY_NOT_EMPTY", f"Folder ({path}) is not empty.")
        for one in (path, *inside):
            del self.kept[one]
        return {}

    def _find(self, asked: Asked) -> tuple[str, Kept]:
        path = _path(asked)
        if path not in self.kept:
            raise refused(404, "RESOURCE_DOES_NOT_EXIST", f"Path ({path}) doesn't exist.")
        return path, self.kept[path]

    def _put(self, path: str, kept: Kept) -> None:
        before = self.kept.get(path)
        kept.number = before.number if before else len(self.kept) + 1
        self.kept[path] = kept

    def _check_parent(self, path: str) -> None:
        parent = _parent(path)
        if parent not in self.kept:
            raise refused(404, "RESOURCE_DOES_NOT_EXIST", f"The parent folder ({parent}) does not exist.")
        if any(path == folder or path.startswith(f"{folder}/") for folder in self.read_only):
            message = f"{self._workspace.user_name} does not have Edit permissions on {parent}."
            raise refused(403, "PERMISSION_DENIED", message)

    def _shown(self, path: str, kept: Kept) -> dict[str, Any]:
        shown: dict[str, Any] = {"object_type": kept.kind, "path": path, "object_id": kept.number}
        shown |= {"language": kept.language} if kept.language else {}
        return shown | ({"modified_at": kept.modified, "size": len(kept.content)} if kept.kind == "FILE" else {})


def _path(asked: Asked) -> str:
    path = str(required(asked, "path"))
    if not path.startswith("/"):
        raise refused(400, "INVALID_PARAMETER_VALUE", f"Path ({path}) must start with '/'.")
    return "/" + path.removeprefix("/Workspace").strip("/")


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
