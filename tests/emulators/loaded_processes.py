"""Processes that have MLflow loaded already: loading it takes longer than many a test, and than starting a server."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# What they have imported. MLflow's server asks whether uvicorn is there already.
_LOADED = [
    "uvicorn.protocols.http.auto",
    "uvicorn.lifespan.on",
    "mlflow.server.fastapi_app",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.pyfunc.scoring_server",
    "mlflow.sklearn",
    "sklearn.linear_model",
    "adbazureml.tracking.catchup",
    "adbazureml.workspaces",
    # MLflow looks whether it is in a notebook, and in a repository.
    "IPython",
    "git",
]


def start(function: Callable[..., object], *arguments: Any, environment: Mapping[str, str]) -> BaseProcess:
    """Run a function of a module in a new process, whose environment is the one given; it may be killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LOADED)
    process = context.Process(target=_call, args=(dict(environment), function, arguments), daemon=True)
    process.start()
    return process


def serve(application: str, *, port: int, folder: Path, log: Path, environment: Mapping[str, str]) -> BaseProcess:
    """Run what ``uvicorn <application>`` runs, in a folder; it ends with this process, however that ends."""
    return start(_serve, application, port, folder, log, environment=environment)


def _call(environment: dict[str, str], function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    function(*arguments)


def _serve(application: str, port: int, folder: Path, log: Path) -> None:
    # Ctrl-C is for whoever started this, with whom it ends.
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with log.open("wb") as output:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
    os.chdir(folder)
    import uvicorn

    uvicorn.run(application, host="127.0.0.1", port=port)


def _end_with_parent() -> None:
    started_by = multiprocessing.parent_process()
    assert started_by is not None
    started_by.join()
    os.kill(os.getpid(), signal.SIGKILL)
