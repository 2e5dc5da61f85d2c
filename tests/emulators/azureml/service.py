"""The one address behind which all services of an emulator stand: connections, faults, latency, request log."""

from __future__ import annotations

import functools
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import certifi
import trustme

from .faults import Effect, Fault, Faults
from .messages import CHUNK, Answer, Call, CutShortError, Problem, Request, Service

# A body that nobody wanted is read to its end up to this size, so that the connection can go on.
DRAINED = 4 * CHUNK


class HttpService:
    """A server on a free port of 127.0.0.1.

    Attributes:
        requests: what was asked so far, in order of arrival.
        crashes: exceptions that are the emulator's own fault; each was answered by 500.
        latency: seconds that every answer takes at least.
    """

    scheme = "http"

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.crashes: list[BaseException] = []
        self.faults = Faults()
        self.latency = 0.0
        self._routes: Sequence[tuple[re.Pattern[str], Service]] = ()
        self._closing = threading.Event()
        self._server = _Server(self, context)

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}"

    def serve(self, routes: Sequence[tuple[str, Service]]) -> None:
        """Start answering; a call goes to the first service whose pattern matches its path."""
        self._routes = [(re.compile(pattern), service) for pattern, service in routes]
        # The server looks every so often whether it shall stop; half a second, its default, is long for a test.
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def put_before(self, routes: Sequence[tuple[str, Service]]) -> None:
        """Let more services answer, ahead of those that do."""
        self._routes = [*((re.compile(pattern), service) for pattern, service in routes), *self._routes]

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def respond(self, call: Call, connection: socket.socket) -> Answer | None:
        """The answer to a call; None when the connection is to be closed without one."""
        service = next((service for pattern, service in self._routes if pattern.match(call.path)), None)
        entry = Request(call.method, service.name if service else "", call.path, call.query, call.length)
        self.requests.append(entry)
        started = time.monotonic()
        try:
            if self.latency:
                self._closing.wait(self.latency)
            answer = self._answer(call, service, connection)
        except CutShortError:
            answer = None
        except Exception as error:
            # Once it closes, what is behind it goes too, whoever may still be asking.
            if not self._closing.is_set():
                self.crashes.append(error)
            answer = Answer(500, f"The emulator failed: {error!r}".encode())
        if call.unread == 0:
            entry.body = _said(call)
        entry.seconds = time.monotonic() - started
        entry.status = answer.status if answer else None
        return answer

    def _answer(self, call: Call, service: Service | None, connection: socket.socket) -> Answer | None:
        if service is None:
            return Answer(404)
        fault = self.faults.next_for(call.method, call.path)
        if fault and not self._lets_through(fault, call, connection):
            return None
        try:
            if fault and fault.effect is Effect.FAIL:
                raise fault.problem()
            answer = service.answer(call)
        except Problem as problem:
            answer = service.refusal(problem)
        return None if fault and fault.effect is Effect.LOSE_ANSWER else answer

    def _lets_through(self, fault: Fault, call: Call, connection: socket.socket) -> bool:
        if fault.effect is Effect.DROP:
            return False
        if fault.effect is Effect.CUT_UPLOAD:
            for _ in call.chunks(call.length // 2):
                pass
            return False
        if fault.effect is Effect.HANG:
            # The body is taken first: what is readable afterwards is the caller's good-bye.
            _ = call.content
            stopped = self._closing.wait(fault.seconds)
            return not stopped and not select.select([connection], [], [], 0)[0]
        return True


class HttpsService(HttpService):
    """The same with TLS, under a test certificate authority.

    Attributes:
        authority: file with this one alone: reading all the public ones takes longer than many a request.
        ca_bundle: file with the public authorities and this one.
    """

    scheme = "https"

    def __init__(self, folder: Path) -> None:
        self.authority, self.ca_bundle = folder / "authority.pem", folder / "ca.pem"
        authority = _authority()
        self.authority.write_bytes(authority.cert_pem.bytes())
        self.ca_bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        super().__init__(context)


class Emulator:
    """What every emulator can be told to do to its next requests, and what it saw.

    ``path`` is looked for in the path of a request, as a regular expression.
    """

    _service: HttpService

    def fail_next(
        self,
        count: int,
        path: str,
        *,
        method: str | None = None,
        status: int = 500,
        retry_after: int | None = None,
    ) -> None:
        """Answer by an error, in the form of the service that was asked: 401, 403, 429, 500 or 503."""
        fault = Fault(Effect.FAIL, re.compile(path), count, method, status=status, retry_after=retry_after)
        self._service.faults.add(fault)

    def hang_next(self, count: int, path: str, seconds: float, *, method: str | None = None) -> None:
        """Answer late; a caller that has gone by then gets nothing done."""
        self._service.faults.add(Fault(Effect.HANG, re.compile(path), count, method, seconds=seconds))

    def drop_next(self, count: int, path: str, *, method: str | None = None) -> None:
        """Close the connection before anything is done."""
        self._service.faults.add(Fault(Effect.DROP, re.compile(path), count, method))

    def lose_answer(self, count: int, path: str, *, method: str | None = None) -> None:
        """Do what is asked, and close the connection without saying so."""
        self._service.faults.add(Fault(Effect.LOSE_ANSWER, re.compile(path), count, method))

    def clear_faults(self) -> None:
        self._service.faults.clear()

    @property
    def latency(self) -> float:
        """Seconds that every answer takes at least."""
        return self._service.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._service.latency = seconds

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in order of arrival; clear it as any list."""
        return self._service.requests

    def requests_to(self, path: str, *, method: str | None = None) -> list[Request]:
        """The requests in whose path the regular expression is found."""
        return [one for one in self.requests if re.search(path, one.path) and method in (None, one.method)]

    @property
    def crashes(self) -> list[BaseException]:
        """Exceptions of the emulator itself, which no test should see."""
        return self._service.crashes


@functools.cache
def _authority() -> trustme.CA:
    """One for all emulators of a process, so that a client who trusts one of them can talk to the others."""
    return trustme.CA()


def _said(call: Call) -> object:
    try:
        return call.body
    except (ValueError, RecursionError):
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, service: HttpService, context: ssl.SSLContext | None) -> None:
        self.service = service
        self._context = context
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, address = super().get_request()
        if self._context is not None:
            # The handshake is left to the thread of the connection: one slow caller does not hold up the others.
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        with self._lock:
            left = list(self._open)
        for connection in left:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that goes away is no news; what fails in a service is in `HttpService.crashes`."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave in one packet, and at once.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def _do(self) -> None:
        call = Call(self.command, self.path, self.headers, self.rfile)  # type: ignore[arg-type]
        answer = self.server.service.respond(call, self.connection)
        if answer is None:
            self.close_connection = True
            return
        if call.unread <= DRAINED:
            for _ in call.chunks():
                pass
        else:
            self.close_connection = True
        self._send(answer)

    do_DELETE = do_GET = do_HEAD = do_PATCH = do_POST = do_PUT = _do  # noqa: N815 - the names that the server calls

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status, answer.reason or HTTPStatus(answer.status).phrase)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(answer.size))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self._send_content(answer)
        self.wfile.flush()

    def _send_content(self, answer: Answer) -> None:
        if answer.file is None:
            self.wfile.write(answer.content)
            return
        left = answer.size
        with answer.file.open("rb") as file:
            file.seek(answer.start)
            while left:
                chunk = file.read(min(left, CHUNK))
                self.wfile.write(chunk)
                left -= len(chunk)

    def log_message(self, *_: object) -> None:
        """Tests look at `HttpService.requests`; nothing goes to the screen."""
