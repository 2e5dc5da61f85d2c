"""A worker of gunicorn that reads and answers in one thread and predicts in others, by waitress.

gunicorn starts a new worker for one that died. waitress, under which Microsoft's inference server runs on Windows,
reads a request to its end before a thread is busy with it: a caller that sends nothing, or slowly, keeps nobody
waiting. Runs where `adbazureml` is not installed.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from typing import Any

from bounded_queue import AT_ONCE, WAITING
from gunicorn.workers.base import Worker
from waitress import create_server, wasyncore
from waitress.channel import HTTPChannel
from waitress.task import WSGITask

# Seconds that requests get to end when the worker is told to.
GRACE_S = 5
# Seconds that a connection may be silent, between requests or within one.
IDLE_S = 30
_LOOK_S = 0.1
# Beyond those that are busy with predictions or wait for one: for liveness, and to send callers away.
_SPARE_THREADS = 8
_CONNECTIONS = 1000


class Answer(WSGITask):
    """An answer, which is the last one of its connection while the server drains."""

    draining = False
    request: Any

    def build_response_header(self) -> Any:
        """Return the header."""
        if Answer.draining:
            self.request.headers["CONNECTION"] = "close"
        return super().build_response_header()


class Channel(HTTPChannel):
    """A connection."""

    task_class = Answer


class WaitressWorker(Worker):
    """The worker."""

    sockets: list[Any]
    wsgi: Any
    alive: bool

    def run(self) -> None:
        """Answer until told to stop, and then until the requests that are there are answered."""
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self.channels: dict[int, Any] = {}
        self.servers: list[Any] = []
        for each in self.sockets:
            self.listen(each.sock)
        looked = 0.0
        while self.alive and os.getppid() == self.ppid:
            self._turn()
            if time.monotonic() - looked > _LOOK_S:
                looked = time.monotonic()
                self.notify()
                self.look()
        self._finish()
        # Threads that a model never gives back would be waited for.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    def look(self) -> None:
        """Do what is to be done several times a second, between requests."""

    def listen(self, listener: socket.socket) -> Any:
        """Accept connections at another socket, too."""
        server = create_server(
            self.wsgi,
            map=self.channels,
            sockets=[listener],
            threads=AT_ONCE + WAITING + _SPARE_THREADS,
            channel_timeout=IDLE_S,
            cleanup_interval=1,
            connection_limit=_CONNECTIONS,
            log_socket_errors=False,
            ident=None,
        )
        server.channel_class = Channel
        self.servers.append(server)
        return server

    def _turn(self) -> None:
        wasyncore.loop(timeout=_LOOK_S, use_poll=True, map=self.channels, count=1)

    def _finish(self) -> None:
        Answer.draining = True
        for server in self.servers:
            server.accepting = False
        until = time.monotonic() + GRACE_S
        while time.monotonic() < until and any(
            channel.requests for server in self.servers for channel in server.active_channels.values()
        ):
            self._turn()
