"""The process behind a local endpoint where Microsoft's server can't be had: MLflow's scoring app, with a lease.

Runs as ``python -m adbazureml.serving.mlflow_server <its folder> <private socket> <public socket>``, and
treats them as `inference_server` does.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from pathlib import Path

from adbazureml.serving.lease import GRACE_S, end_with_lease

_LOOK_S = 0.2


def serve(folder: Path, private: socket.socket, public: socket.socket) -> None:
    """Load the model of the folder and answer on the sockets until the lease or a signal ends it."""
    end_with_lease(folder)

    import uvicorn
    from mlflow import pyfunc, tracing
    from mlflow.pyfunc import scoring_server

    # With tracing on, `load_model` opens the tracking store, by default a new database in the working directory.
    tracing.disable()
    app = scoring_server.init(pyfunc.load_model(str(folder / "model")))

    def server() -> uvicorn.Server:
        return uvicorn.Server(uvicorn.Config(app, access_log=False, timeout_graceful_shutdown=GRACE_S))

    def answer_in_public() -> None:
        while not (folder / "open").exists():
            time.sleep(_LOOK_S)
        server().run(sockets=[public])

    threading.Thread(target=answer_in_public, daemon=True).start()
    server().run(sockets=[private])


if __name__ == "__main__":
    serve(Path(sys.argv[1]), *(socket.socket(fileno=int(number)) for number in sys.argv[2:]))
