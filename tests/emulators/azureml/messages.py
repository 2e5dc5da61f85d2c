"""What goes over the wire: a call as it arrives, an answer, a refusal, and the line the log keeps of both."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, unquote, urlsplit

CHUNK = 1024 * 1024


@dataclass
class Request:
    """One line of the request log.

    ``host`` is the service that was asked: identity, arm, tracking, artifacts or blobs. ``body`` is what a JSON body
    said, ``size`` its length in bytes, ``status`` stays None when no answer was sent, ``at`` is a Unix time and
    ``seconds`` how long the answer took.
    """

    method: str
    host: str
    path: str
    query: dict[str, str]
    size: int
    at: float = field(default_factory=time.time)
    body: Any = None
    status: int | None = None
    seconds: float = 0.0


class CutShortError(ConnectionError):
    """The caller went away in the middle of its own request."""


class Call:
    """A request while it is being answered; its body is read from the connection once, when asked for."""

    def __init__(self, method: str, target: str, headers: Mapping[str, str], stream: IO[bytes]):
        url = urlsplit(target)
        self.method = method
        self.path = unquote(url.path)
        self.lists = parse_qs(url.query, keep_blank_values=True)
        self.query = {name: values[-1] for name, values in self.lists.items()}
        self.headers = headers
        self.length = int(headers.get("Content-Length") or 0)
        self.unread = self.length
        self._stream = stream

    def chunks(self, limit: int | None = None) -> Iterator[bytes]:
        """The body, piece by piece; ``limit`` bytes of it at most."""
        if "content" in self.__dict__:
            yield self.content
            return
        left = self.unread if limit is None else min(limit, self.unread)
        while left:
            chunk = self._stream.read(min(left, CHUNK))
            if not chunk:
                raise CutShortError
            left -= len(chunk)
            self.unread -= len(chunk)
            yield chunk

    @cached_property
    def content(self) -> bytes:
        return b"".join(self.chunks())

    @cached_property
    def body(self) -> Any:
        """What a JSON body says; None where there is none."""
        if "json" not in self.headers.get("Content-Type", "") or not self.length:
            return None
        return json.loads(self.content)

    def save(self, file: Path) -> None:
        with file.open("wb") as target:
            for chunk in self.chunks():
                target.write(chunk)


@dataclass(frozen=True)
class Answer:
    """What is sent back: ``content``, or ``length`` bytes of ``file`` from ``start`` on."""

    status: int = 200
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    file: Path | None = None
    start: int = 0
    length: int | None = None

    @property
    def size(self) -> int:
        return len(self.content) if self.length is None else self.length


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    content = json.dumps(value).encode()
    return Answer(status, content, {"Content-Type": "application/json; charset=utf-8", **(headers or {})})


class Problem(Exception):  # noqa: N818 - the service's refusal, not a failure of the emulator
    """A refusal; each service says it in its own form."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


class Service(ABC):
    """One of the services behind the emulator's address."""

    name: str

    @abstractmethod
    def answer(self, call: Call) -> Answer:
        """Do the work; raises `Problem` for what the service refuses."""

    @abstractmethod
    def refusal(self, problem: Problem) -> Answer:
        """The problem in the form that clients of this service know."""
