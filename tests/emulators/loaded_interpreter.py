"""Another environment's Python that has loaded what model servers import, and forks itself for each of them.

What a server imports takes seconds, more than all that a test asks of it.
"""

from __future__ import annotations

import functools
import importlib
import io
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

# None of this process's settings reaches what would run on another machine.
HIDDEN = ("ADBAZUREML_", "MLFLOW_", "DATABRICKS_", "AZURE_", "AZUREML_", "AML_", "PYTHONPATH", "SPARK_", "PYSPARK_")
# What is not in an environment is not loaded.
_LOADED = (
    "gunicorn.app.wsgiapp",
    "waitress",
    "flask_cors",
    "inference_schema.schema_decorators",
    "azure.monitor.opentelemetry.exporter",
    "azureml.ai.monitoring",
    "mlflow.pyfunc",
    "pandas",
    "sklearn.linear_model",
)


class LoadedInterpreter:
    """The Python of an environment; it ends with this process, and what it runs with it."""

    def __init__(self, python: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)}
        self._process = subprocess.Popen(
            [python, __file__],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._lock = threading.Lock()

    def run(
        self, module: str, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: Path
    ) -> LoadedProcess:
        """Run ``python -m <module> <arguments>`` in a folder and a session of its own; what it prints goes to a log."""
        asked = {
            "run": [module, *arguments],
            "folder": str(folder),
            "environment": dict(environment),
            "log": str(log),
        }
        return LoadedProcess(self, self.ask(asked))

    def ask(self, asked: Mapping[str, Any]) -> Any:
        """What it answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())


@functools.cache
def loaded_interpreter(python: Path) -> LoadedInterpreter:
    """The one of an environment that serves all of this process."""
    return LoadedInterpreter(python)


class LoadedProcess:
    """One process of it, asked as `subprocess.Popen` is."""

    def __init__(self, interpreter: LoadedInterpreter, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._interpreter = interpreter

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.returncode is None:
            self.returncode = self._interpreter.ask({"poll": self.pid})
        return self.returncode

    def wait(self, seconds: float = 60.0) -> int:
        """Wait for its end; raises `subprocess.TimeoutExpired`."""
        deadline = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), seconds)
            time.sleep(0.01)
        return code

    def terminate(self) -> None:
        """Ask it to end."""
        os.kill(self.pid, signal.SIGTERM)


def _fork() -> dict[str, Any]:
    """Answer what is asked; in a process that was forked, return what it shall run."""
    ended: dict[int, int | None] = {}
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        if "poll" in asked:
            answer = _poll(asked["poll"], ended)
        else:
            answer = os.fork()
            if answer == 0:
                return asked
            ended[answer] = None
        print(json.dumps(answer), flush=True)
    for pid, code in ended.items():
        if code is None:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
    sys.exit()


def _poll(pid: int, ended: dict[int, int | None]) -> int | None:
    if ended[pid] is None:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended[pid]


def _become(asked: dict[str, Any]) -> None:
    """Be as a process that was just started."""
    os.setsid()
    with open(os.devnull, "rb") as nothing, open(asked["log"], "wb") as log:
        for source, descriptor in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source.fileno(), descriptor)
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    # As -m and PYTHONPATH have it.
    sys.path[:0] = [asked["folder"], *filter(None, os.environ.get("PYTHONPATH", "").split(":"))]
    sys.argv = asked["run"]


if __name__ == "__main__":
    # The neighbours of this file are no modules of the environment.
    sys.path.pop(0)
    for name in _LOADED:
        with suppress(ImportError):
            importlib.import_module(name)
    todo = _fork()
    _become(todo)
    runpy.run_module(todo["run"][0], run_name="__main__", alter_sys=True)
