"""The process behind a local endpoint: MLflow's scoring app in one process, which ends with its lease.

Runs as ``python -m adbazureml.deployment.server <its folder> <socket> …``. The sockets are bound by the process that
deploys and inherited, so that a port in use is known before the model is loaded and a free port can't be lost. They
start to listen once the model is loaded.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from adbazureml.deployment.records import MODEL, read_lease

_LEASE_CHECK_S = 0.5
_GRACE_S = 5


def serve(folder: Path, sockets: list[socket.socket]) -> None:
    """Load the model of the folder and answer on the sockets until the lease or a signal ends it."""
    threading.Thread(target=_watch_lease, args=(folder,), daemon=True).start()

    import uvicorn
    from mlflow import pyfunc, tracing
    from mlflow.pyfunc import scoring_server

    # With tracing on, `load_model` opens the tracking store, by default a new database in the working directory.
    tracing.disable()
    app = scoring_server.init(pyfunc.load_model(str(folder / MODEL)))
    config = uvicorn.Config(app, access_log=False, timeout_graceful_shutdown=_GRACE_S)
    uvicorn.Server(config).run(sockets=sockets)


def _watch_lease(folder: Path) -> None:
    while not read_lease(folder).ended:
        time.sleep(_LEASE_CHECK_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2 * _GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), [socket.socket(fileno=int(number)) for number in sys.argv[2:]])
