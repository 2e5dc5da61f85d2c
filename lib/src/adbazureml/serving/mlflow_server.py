"""The process behind a local endpoint where Microsoft's server can't be had: MLflow's scoring app, with a lease.

Runs as ``python -m adbazureml.serving.mlflow_server <its folder> <private socket> <public socket>``, and
treats them as `inference_server` does.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from adbazureml.serving.lease import GRACE_S, end_with_lease
from adbazureml.serving.traffic import ACCEPTING, LINGER_S, LOOK_S, OPEN, hand_over_on_demand

_CLOSE = (b"connection", b"close")


def serve(folder: Path, private: socket.socket, public: socket.socket) -> None:
    """Load the model of the folder and answer on the sockets until the lease or a signal ends it."""
    end_with_lease(folder)
    hand_over_on_demand(folder, public)

    import uvicorn
    from mlflow import pyfunc, tracing
    from mlflow.pyfunc import scoring_server

    # With tracing on, `load_model` opens the tracking store, by default a new database in the working directory.
    tracing.disable()
    app = scoring_server.init(pyfunc.load_model(str(folder / "model")))

    def config(grace: int) -> uvicorn.Config:
        return uvicorn.Config(app, access_log=False, timeout_graceful_shutdown=grace)

    class PublicServer(uvicorn.Server):
        async def on_tick(self, counter: int) -> bool:
            if counter == 0:
                (folder / ACCEPTING).touch()
            closed = not (folder / OPEN).exists()
            return bool(await super().on_tick(counter)) or closed

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """End connections with their next answer, not in the middle of a request on its way."""
            for server in self.servers:
                server.close()
            # What was accepted just now becomes a connection in a moment.
            await asyncio.sleep(LOOK_S)
            self.config.encoded_headers.append(_CLOSE)
            self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
            until = time.monotonic() + LINGER_S
            while self.server_state.connections and time.monotonic() < until:
                await asyncio.sleep(LOOK_S)
            await super().shutdown(sockets)

    longest = int(os.environ["MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"])

    def answer_in_public() -> None:
        while True:
            while not (folder / OPEN).exists():
                time.sleep(LOOK_S)
            # It closes what it listens at, which stays the endpoint's.
            PublicServer(config(longest)).run(sockets=[public.dup()])
            with suppress(FileNotFoundError):
                (folder / ACCEPTING).unlink()

    threading.Thread(target=answer_in_public, daemon=True).start()
    uvicorn.Server(config(GRACE_S)).run(sockets=[private])


if __name__ == "__main__":
    serve(Path(sys.argv[1]), *(socket.socket(fileno=int(number)) for number in sys.argv[2:]))
