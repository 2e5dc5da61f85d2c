"""The process behind a local endpoint: Microsoft's inference server for Azure ML, which ends with its lease.

Runs in the model's environment, where this package is not installed, as
``python …/inference_server.py <its folder> <private socket> <public socket>``. Both sockets are bound and inherited,
so that a port in use is known before the model is loaded. The private one takes requests as soon as the model is
loaded; the public one listens once the file `OPEN` lies in the folder: that is how traffic moves.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

from lease import GRACE_S, end_with_lease

# The neighbours of this file are no modules of the model's environment.
sys.path.pop(0)

from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.workers.sync import SyncWorker

OPEN = "open"
_LOOK_S = 0.2
_FOLDER = Path(sys.argv[1])
_PRIVATE, _PUBLIC = (int(number) for number in sys.argv[2:])


class LateWorker(SyncWorker):
    """A worker that takes requests at the public socket once it is told to, and ends soon after its parent."""

    sockets: list[socket.socket]
    wait_fds: list[Any]
    public: socket.socket | None = None

    def run(self) -> None:
        """Answer until told to stop."""
        for bound in self.sockets:
            bound.setblocking(False)
        self.run_for_multiple(_LOOK_S)

    def wait(self, timeout: float) -> Any:
        """Wait for a request, for a moment only."""
        if self.public is None and (_FOLDER / OPEN).exists():
            self.public = socket.socket(fileno=_PUBLIC)
            self.public.setblocking(False)
            self.public.listen()
            self.sockets = [*self.sockets, self.public]
            self.wait_fds = [*self.wait_fds, self.public]
        return super().wait(min(timeout, _LOOK_S))


if __name__ == "__main__":
    end_with_lease(_FOLDER)
    worker = ["--bind", f"fd://{_PRIVATE}", "--workers", "1", "--worker-class", "__main__.LateWorker"]
    limits = ["--timeout", os.environ["WORKER_TIMEOUT"], "--graceful-timeout", str(GRACE_S)]
    # As the server's own start does it; without it the script's log is not seen.
    logs = ["--access-logfile", "-", "--error-logfile", os.devnull]
    sys.argv = [sys.argv[0], *worker, *limits, *logs, "azureml_inference_server_http.server.entry:app"]
    WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]").run()
