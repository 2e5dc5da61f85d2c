"""The storage account of the workspace: block blobs, read and written through addresses signed for one or for all."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import re
import secrets
import shutil
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from .faults import CODES
from .messages import Answer, Call, Problem, Service

CONTAINER = "azureml"
VERSION = "2023-11-03"
READ, WRITE, ALL = "r", "rcw", "rcwl"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_STORAGE_CODES = {
    CODES[401]: "NoAuthenticationInformation",
    CODES[403]: "AuthorizationFailure",
    CODES[429]: "ServerBusy",
    CODES[503]: "ServerBusy",
}


@dataclass(frozen=True)
class Blob:
    """A blob that was written to its end."""

    file: Path
    size: int
    etag: str = field(default_factory=lambda: f'"0x{secrets.token_hex(8).upper()}"')
    modified: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.timezone.utc))
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        return {"ETag": self.etag, "Last-Modified": format_datetime(self.modified, usegmt=True), **self.metadata}


class Blobs(Service):
    """One container of artifacts, and one for each upload of an asset; their bytes are in files.

    Attributes:
        signed_for: seconds that a signature is good.
        signatures: all that were given out.
    """

    name = "blobs"

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.signed_for = 8 * 3600.0
        self.signatures: set[str] = set()
        self._folder = folder
        self._folder.mkdir()
        self._key = secrets.token_bytes(32)
        self._blobs: dict[str, Blob] = {}
        self._blocks: dict[str, dict[str, Path]] = {}
        self._uploads: set[str] = set()
        self._lock = threading.Lock()

    def sign(self, name: str, permissions: str) -> str:
        """The address at which the blob can be read, or written and read."""
        return f"{self.url}/{CONTAINER}/{quote(name)}?{self._query(name, permissions, 'b')}"

    def new_container(self) -> tuple[str, str]:
        """The address of a new container, and the one at which all of its blobs can be written and read."""
        name = str(uuid.uuid4())
        self._uploads.add(name)
        address = f"{self.url}/{name}"
        return address, f"{address}?{self._query(name, ALL, 'c')}"

    def below(self, prefix: str) -> dict[str, Path]:
        """The files of all blobs whose names begin with the prefix, by the rest of their names.

        Blobs outside of the container of artifacts have its name before theirs.
        """
        with self._lock:
            found = sorted(self._blobs.items())
        return {name.removeprefix(prefix): blob.file for name, blob in found if name.startswith(prefix)}

    def content(self, name: str) -> bytes | None:
        """What is stored; None where nothing was written to its end."""
        blob = self._blobs.get(name)
        return blob.file.read_bytes() if blob else None

    def delete(self, name: str) -> None:
        with self._lock:
            blob = self._blobs.pop(name, None)
        if blob:
            blob.file.unlink()

    def store(self, name: str, content: bytes) -> None:
        """Store what the service itself writes."""
        file = self._new_file()
        file.write_bytes(content)
        self._keep(name, file)

    def put(self, name: str, call: Call) -> Blob:
        """Store the body of a call, in place of what was there."""
        file = self._receive(call)
        return self._keep(name, file)

    def answer(self, call: Call) -> Answer:
        _, _, *inside = call.path.split("/", 3)
        if len(inside) < 2:
            raise Problem(401, "NoAuthenticationInformation", "Server failed to authenticate the request.")
        container, name = inside
        if container != CONTAINER and container not in self._uploads:
            raise Problem(404, "ContainerNotFound", "The specified container does not exist.")
        writes = call.method in ("PUT", "DELETE")
        signed = container if call.query.get("sr") == "c" else name
        self._check_signature(signed, call.query, "w" if writes else "r")
        if container != CONTAINER:
            name = f"{container}/{name}"
        if call.method in ("GET", "HEAD"):
            return self._get(name, call)
        if call.method == "PUT":
            return self._put(name, call)
        raise Problem(405, "UnsupportedHttpVerb", "The resource doesn't support the specified HTTP verb.")

    def refusal(self, problem: Problem) -> Answer:
        code = _STORAGE_CODES.get(problem.code, problem.code)
        headers = {**_common(), "x-ms-error-code": code, "Content-Type": "application/xml", **problem.headers}
        message = f"{problem.message}\nRequestId:{headers['x-ms-request-id']}"
        body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{escape(message)}</Message>'
        return Answer(problem.status, f"{body}</Error>".encode(), headers)

    def _query(self, signed: str, permissions: str, resource: str) -> str:
        now = datetime.datetime.now(datetime.timezone.utc)
        expiry = (now + datetime.timedelta(seconds=self.signed_for)).strftime("%Y-%m-%dT%H:%M:%SZ")
        signature = self._signature(signed, permissions, expiry)
        self.signatures.add(signature)
        return urlencode({"sv": VERSION, "sr": resource, "se": expiry, "sp": permissions, "sig": signature})

    def _signature(self, name: str, permissions: str, expiry: str) -> str:
        text = "\n".join((name, permissions, expiry)).encode()
        return base64.b64encode(hmac.new(self._key, text, hashlib.sha256).digest()).decode()

    def _check_signature(self, name: str, query: Mapping[str, str], needed: str) -> None:
        permissions, expiry = query.get("sp", ""), query.get("se", "")
        right = self._signature(name, permissions, expiry)
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        if not hmac.compare_digest(right, query.get("sig", "")) or expiry <= now:
            message = (
                "Server failed to authenticate the request. Make sure the value of Authorization header is formed "
                "correctly including the signature."
            )
            raise Problem(403, "AuthenticationFailed", message)
        if needed not in permissions:
            message = "This request is not authorized to perform this operation using this permission."
            raise Problem(403, "AuthorizationPermissionMismatch", message)

    def _get(self, name: str, call: Call) -> Answer:
        blob = self._blobs.get(name)
        if blob is None:
            raise Problem(404, "BlobNotFound", "The specified blob does not exist.")
        if call.headers.get("If-Match", blob.etag) not in ("*", blob.etag):
            raise Problem(
                412, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met."
            )
        headers = {
            **_common(),
            **blob.headers,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
            "x-ms-blob-type": "BlockBlob",
        }
        asked = _RANGE.fullmatch(call.headers.get("x-ms-range") or call.headers.get("Range") or "")
        if asked is None:
            return Answer(200, headers=headers, file=blob.file, length=blob.size)
        first = int(asked[1])
        last = min(int(asked[2] or blob.size), blob.size - 1)
        if first > last:
            raise Problem(416, "InvalidRange", "The range specified is invalid for the current size of the resource.")
        headers["Content-Range"] = f"bytes {first}-{last}/{blob.size}"
        return Answer(206, headers=headers, file=blob.file, start=first, length=last - first + 1)

    def _put(self, name: str, call: Call) -> Answer:
        part = call.query.get("comp", "")
        if part == "block":
            self._blocks.setdefault(name, {})[call.query["blockid"]] = self._receive(call)
            return Answer(201, headers=_common())
        if part == "metadata":
            return self._put_metadata(name, call)
        if call.headers.get("If-None-Match") == "*" and name in self._blobs:
            raise Problem(409, "BlobAlreadyExists", "The specified blob already exists.")
        if part == "blocklist":
            blob = self._keep(name, self._assemble(name, call.content))
        elif call.headers.get("x-ms-blob-type") == "BlockBlob" and not part:
            blob = self.put(name, call)
        else:
            raise Problem(
                400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format."
            )
        return Answer(201, headers={**_common(), **blob.headers, "x-ms-request-server-encrypted": "true"})

    def _put_metadata(self, name: str, call: Call) -> Answer:
        blob = self._blobs.get(name)
        if blob is None:
            raise Problem(404, "BlobNotFound", "The specified blob does not exist.")
        blob.metadata.clear()
        blob.metadata.update(
            {key: value for key, value in call.headers.items() if key.lower().startswith("x-ms-meta-")}
        )
        return Answer(200, headers={**_common(), **blob.headers})

    def _assemble(self, name: str, block_list: bytes) -> Path:
        staged = self._blocks.pop(name, {})
        wanted = [element.text or "" for element in ElementTree.fromstring(block_list)]
        if not set(wanted) <= set(staged):
            raise Problem(400, "InvalidBlockList", "The specified block list is invalid.")
        whole = self._new_file()
        with whole.open("wb") as target:
            for block in wanted:
                with staged[block].open("rb") as part:
                    shutil.copyfileobj(part, target)
        for part_file in staged.values():
            part_file.unlink()
        return whole

    def _receive(self, call: Call) -> Path:
        file = self._new_file()
        try:
            call.save(file)
        except ConnectionError:
            file.unlink()
            raise
        return file

    def _keep(self, name: str, file: Path) -> Blob:
        blob = Blob(file, file.stat().st_size)
        with self._lock:
            before = self._blobs.get(name)
            self._blobs[name] = blob
        if before:
            before.file.unlink()
        return blob

    def _new_file(self) -> Path:
        return self._folder / uuid.uuid4().hex


def _common() -> dict[str, Any]:
    return {"x-ms-version": VERSION, "x-ms-request-id": str(uuid.uuid4())}
