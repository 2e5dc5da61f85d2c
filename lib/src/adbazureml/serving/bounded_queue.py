"""Answer some requests at once, let some wait, and send the others away: a WSGI application in front of another one.

It keeps its own threads for the model, so that liveness is answered whatever the model does, and a request that takes
too long is answered in time, although nothing can end the thread that it runs in. Needs the standard library only, as
it runs where `adbazureml` is not installed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from typing import Any

SCORE = "/score"
AT_ONCE = min(32, (os.cpu_count() or 1) + 4)
WAITING = 64
_RETRY_AFTER_S = 1

Header = tuple[str, str]


class BoundedQueue:
    """A WSGI application that passes requests on to another one: few for predictions at once, all others directly.

    Parameters
    ----------
    application : callable
        What answers.
    seconds : float
        In which a prediction must be answered, counted from when its request was read.
    at_once, waiting : int
        How many predictions are made at once, and how many wait for that.
    give_up : callable
        Called when each thread of the model is busy with a request that was given up: nothing is answered any more.
        Without, this process ends, and gunicorn starts another one.
    """

    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        *,
        seconds: float,
        at_once: int = AT_ONCE,
        waiting: int = WAITING,
        give_up: Callable[[], None] | None = None,
    ) -> None:
        self._application = application
        self._seconds = seconds
        self._at_once = at_once
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="model")
        self._places = threading.BoundedSemaphore(at_once + waiting)
        self._give_up = give_up or _end_this_process
        self._overdue = 0
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request: 503 where too many wait, 504 where the model takes too long."""
        if environ.get("PATH_INFO") != SCORE:
            status, headers, body = _whole(self._application, environ)
        else:
            status, headers, body = self._in_turn(environ)
        start_response(status, headers)
        return [body]

    def _in_turn(self, environ: dict[str, Any]) -> tuple[str, list[Header], bytes]:
        if not self._places.acquire(blocking=False):
            return self._busy()
        try:
            running = self._pool.submit(_whole, self._application, environ)
            try:
                return running.result(self._seconds)
            except TimeoutError:
                return self._given_up(running)
        finally:
            self._places.release()

    def _given_up(self, running: Future[Any]) -> tuple[str, list[Header], bytes]:
        if running.cancel():
            return self._busy()
        with self._lock:
            self._overdue += 1
            stuck = self._overdue >= self._at_once
        if stuck:
            self._give_up()
        running.add_done_callback(self._ended)
        return _said(
            "504 Gateway Timeout",
            f"The model did not answer within {self._seconds:g} s: send fewer rows at once, or raise request_timeout.",
        )

    def _ended(self, _: Future[Any]) -> None:
        with self._lock:
            self._overdue -= 1

    def _busy(self) -> tuple[str, list[Header], bytes]:
        status, headers, body = _said("503 Service Unavailable", "The endpoint has too many requests: try again later.")
        return status, [*headers, ("Retry-After", str(_RETRY_AFTER_S))], body


def bounded(application: Callable[..., Iterable[bytes]]) -> BoundedQueue:
    """Return an application behind a queue whose requests have the time that Microsoft's server is told."""
    return BoundedQueue(application, seconds=float(os.environ["SCORING_TIMEOUT_MS"]) / 1000)


def application() -> BoundedQueue:
    """Make what gunicorn serves: Microsoft's inference server for Azure ML."""
    from azureml_inference_server_http.server.entry import app

    return bounded(app)


def _end_this_process() -> None:
    print("The model answers nothing any more: it is loaded anew.", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


def _whole(application: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> tuple[str, list[Header], bytes]:
    """Status, headers and body that an application answers with."""
    started: list[Any] = []

    def start(status: str, headers: list[Header], exc_info: Any = None) -> None:  # noqa: ARG001
        started[:] = [status, headers]

    chunks = application(environ, start)
    try:
        body = b"".join(chunks)
    finally:
        if close := getattr(chunks, "close", None):
            close()
    status, headers = started
    return status, headers, body


def _said(status: str, sentence: str) -> tuple[str, list[Header], bytes]:
    body = json.dumps({"message": sentence}).encode()
    return status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))], body
