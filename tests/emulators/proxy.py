"""A way to an HTTP server on loopback that is long, and breaks as told.

`Proxy` runs in threads of a test. ``python proxy.py <target> <seconds>`` is a process of its own that only makes the
way long, so that a benchmark does not share its interpreter; it prints its address, then for each line of its standard
input how many requests came since, all and those of artifacts; it ends with its standard input. A line "hang" or "drop"
breaks the way from then on, "mend" makes it whole again.
"""

from __future__ import annotations

import http.client
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

# What may happen to a request: nothing but an error status; the connection is cut before or after the server got it;
# no answer comes.
Kind = Literal["status", "drop", "lose", "hang"]


@dataclass
class Fault:
    """What happens to the next requests that fit.

    Attributes
    ----------
    kind : {"status", "drop", "lose", "hang"}
        Answer a status without asking the server; cut the connection before the server gets the request; cut it after;
        let the caller wait.
    path : str
        Regular expression, found in the path.
    body : bytes
        Found in the body.
    left : float
        How many requests more.
    """

    kind: Kind
    path: str = ""
    body: bytes = b""
    left: float = float("inf")
    status: int = 503
    headers: tuple[tuple[str, str], ...] = ()
    answer: bytes = b"broken as told"


@dataclass(frozen=True)
class Passed:
    """A request that came in."""

    method: str
    path: str
    at: float


class Proxy:
    """Forwards to a server while its ``with`` block runs.

    >>> with Proxy("http://127.0.0.1:5000") as proxy:
    ...     proxy.break_down("lose", path="runs/create", count=1)
    """

    def __init__(self, target: str, latency: float = 0.0) -> None:
        parts = urlsplit(target)
        self._target = parts.hostname or "", parts.port or 80
        self.latency = latency
        self.passed: list[Passed] = []
        self._faults: list[Fault] = []
        self._chooser: Callable[[str, str], Fault | None] | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def break_down(
        self,
        kind: Kind,
        *,
        path: str = "",
        body: bytes = b"",
        count: float = float("inf"),
        status: int = 503,
        retry_after: int | None = None,
        answer: bytes = b"broken as told",
    ) -> None:
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        with self._lock:
            self._faults.append(Fault(kind, path, body, count, status, headers, answer))

    def break_at_random(self, choose: Callable[[str, str], Fault | None]) -> None:
        """Let a function of method and path choose what happens to each request."""
        self._chooser = choose

    def mend(self) -> None:
        """Forward everything again."""
        with self._lock:
            self._faults.clear()
        self._chooser = None

    def requests_to(self, path: str = "") -> list[Passed]:
        return [passed for passed in list(self.passed) if re.search(path, passed.path)]

    def fault_for(self, method: str, path: str, body: bytes) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.left > 0 and re.search(fault.path, path) and fault.body in body:
                    fault.left -= 1
                    return fault
            return self._chooser(method, path) if self._chooser else None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body go out in two writes, which otherwise wait for each other.
            disable_nagle_algorithm = True
            connection_to_server: http.client.HTTPConnection | None = None

            def _pass(self) -> None:
                body = self._body()
                proxy.passed.append(Passed(self.command, self.path, time.monotonic()))
                if proxy.latency:
                    time.sleep(proxy.latency)
                fault = proxy.fault_for(self.command, self.path, body)
                if fault is None:
                    self._forward(body)
                elif fault.kind == "status":
                    self._answer(fault.status, [*fault.headers, ("Content-Type", "text/plain")], fault.answer)
                else:
                    if fault.kind == "lose":
                        self._ask(body)
                    if fault.kind == "hang":
                        proxy._closing.wait(60)
                    self.close_connection = True
                    with suppress(OSError):
                        self.connection.shutdown(socket.SHUT_RDWR)

            def do_GET(self) -> None:
                self._pass()

            def do_POST(self) -> None:
                self._pass()

            def do_PUT(self) -> None:
                self._pass()

            def do_PATCH(self) -> None:
                self._pass()

            def do_DELETE(self) -> None:
                self._pass()

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                chunks = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(chunks)

            def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
                skipped = {"host", "connection", "content-length", "transfer-encoding"}
                headers = {key: value for key, value in self.headers.items() if key.lower() not in skipped}
                headers["Content-Length"] = str(len(body))
                for fresh in (False, True):
                    if fresh or self.connection_to_server is None:
                        self.connection_to_server = http.client.HTTPConnection(*proxy._target, timeout=120)
                    try:
                        self.connection_to_server.request(self.command, self.path, body, headers)
                        answer = self.connection_to_server.getresponse()
                    except (http.client.RemoteDisconnected, ConnectionError):
                        # The server closed a connection that was idle.
                        continue
                    return answer.status, answer.getheaders(), answer.read()
                return 502, [], b"the server behind the proxy does not answer"

            def _forward(self, body: bytes) -> None:
                status, headers, content = self._ask(body)
                skipped = {"connection", "content-length", "transfer-encoding", "server", "date"}
                self._answer(status, [item for item in headers if item[0].lower() not in skipped], content)

            def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
                with suppress(OSError):
                    self.send_response(status)
                    for name, value in headers:
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Tests look at `passed`; nothing goes to the screen."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A caller that was killed, or that gave up, is no news."""


if __name__ == "__main__":
    with Proxy(sys.argv[1], float(sys.argv[2])) as only:
        print(only.url, flush=True)
        for line in sys.stdin:
            match line.strip():
                case "hang" | "drop" as kind:
                    only.break_down(kind)
                case "mend":
                    only.mend()
            print(len(only.requests_to()), len(only.requests_to("/mlflow-artifacts/")), flush=True)
            only.passed.clear()
