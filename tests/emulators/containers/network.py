"""The way to container groups: a proxy that resolves the names of a region, which no resolver outside knows."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_NOT_PASSED_ON = {"connection", "proxy-connection", "keep-alive", "transfer-encoding", "host", "content-length"}


class Network:
    """A proxy for plain HTTP.

    Attributes:
        asked: method, URL of each request, in order.
        delay: seconds that each answer to a POST takes at least.
    """

    def __init__(self, resolve: Callable[[str, int], int | None]) -> None:
        self.asked: list[tuple[str, str]] = []
        self.delay = 0.0
        self._resolve = resolve
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        network = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _pass_on(self) -> None:
                url = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                network.asked.append((self.command, self.path))
                port = network._resolve(url.hostname or "", url.port or 80)
                if self.command == "POST":
                    time.sleep(network.delay)
                if port is None:
                    # No such name, or nobody listens there: a caller without a proxy would not get through either.
                    self.close_connection = True
                    return
                kept = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED_ON}
                server = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
                try:
                    server.request(self.command, url.path or "/", body or None, {**kept, "Host": url.netloc})
                    answer = server.getresponse()
                    content = answer.read()
                except (OSError, http.client.HTTPException):
                    self.close_connection = True
                    return
                finally:
                    server.close()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _NOT_PASSED_ON:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815 - the names that the server calls

            def log_message(self, *_: object) -> None:
                """Tests look at `asked`; nothing goes to the screen."""

        return Handler
