"""The process behind a local endpoint: Microsoft's inference server for Azure ML, which ends with its lease.

Runs in the model's environment, where this package is not installed, as
``python …/inference_server.py <its folder> <private socket> <public socket>``. Both sockets are bound and inherited,
so that a port in use is known before the model is loaded. The private one takes requests as soon as the model is
loaded; the public one as `traffic` tells.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from lease import end_with_lease
from traffic import ACCEPTING, LINGER_S, OPEN, hand_over_on_demand
from waitress_worker import GRACE_S, IDLE_S, Answer, WaitressWorker

# The neighbours of this file are no modules of the model's environment.
sys.path.pop(0)

from gunicorn.app.wsgiapp import WSGIApplication

_FOLDER = Path(sys.argv[1])
_PRIVATE, _PUBLIC = (int(number) for number in sys.argv[2:])


class LocalWorker(WaitressWorker):
    """A worker that accepts connections at the public socket while it is told to."""

    public: Any = None
    closing_since = 0.0

    def look(self) -> None:
        """Accept connections at the public socket, or end those that are there, as the folder says."""
        wanted = (_FOLDER / OPEN).exists()
        if wanted and self.public is None:
            self.public = self.listen(socket.socket(fileno=_PUBLIC))
        if self.public is None:
            return
        self.public.accepting, Answer.draining = wanted, not wanted
        if wanted:
            self.closing_since, self.public.adj.channel_timeout = 0.0, IDLE_S
            (_FOLDER / ACCEPTING).touch()
            return
        self.closing_since = self.closing_since or time.monotonic()
        if time.monotonic() - self.closing_since > LINGER_S:
            self.public.adj.channel_timeout = 0
        if not self.public.active_channels:
            (_FOLDER / ACCEPTING).unlink(missing_ok=True)


if __name__ == "__main__":
    end_with_lease(_FOLDER)
    hand_over_on_demand(_FOLDER, socket.socket(fileno=os.dup(_PUBLIC)))
    # A worker is forked from this process: another one for one that died needs not import them again.
    import mlflow.pyfunc  # noqa: F401
    import pandas as pd  # noqa: F401

    worker = ["--bind", f"fd://{_PRIVATE}", "--workers", "1", "--worker-class", "__main__.LocalWorker"]
    limits = ["--timeout", os.environ["WORKER_TIMEOUT"], "--graceful-timeout", str(GRACE_S + 1)]
    # As the server's own start does it; without it the script's log is not seen.
    logs = ["--access-logfile", "-", "--error-logfile", os.devnull]
    sys.argv = [sys.argv[0], *worker, *limits, *logs, "bounded_queue:application()"]
    WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]").run()
