"""Start a server's process, wait until it is healthy, and stop it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from adbazureml.deployment.records import LOG, MODEL, is_server
from adbazureml.deployment.scoring import is_healthy
from adbazureml.errors import DeploymentError

HOST = "127.0.0.1"
_PING_TIMEOUT_S = 2
_POLL_S = 0.2
# The server gives open requests 5 s to end.
_STOP_TIMEOUT_S = 10
_LOG_LINES_SHOWN = 15

# A child must be waited for, or it stays a zombie until this process ends.
_children: dict[int, subprocess.Popen[bytes]] = {}


def bind(port: int, *, shared: bool = False) -> socket.socket:
    """Bind a port of this machine for a server to listen on; 0 binds a free one.

    Parameters
    ----------
    port : int
        The port.
    shared : bool
        Bind beside the server that listens there now, which `bind` made for that port.

    Raises
    ------
    OSError
        The port is in use or not allowed.
    """
    if port and not shared:
        # What binds with SO_REUSEPORT alone would share the port with any server of this user that does the same.
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if port:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        raise
    return bound


def start(folder: Path, sockets: list[socket.socket]) -> int:
    """Start the server of a folder on bound sockets; return its process id."""
    numbers = [bound.fileno() for bound in sockets]
    # Workers of a Spark model must be this interpreter, not the first python3 on the PATH.
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYTHONUNBUFFERED": "1"}
    with (folder / LOG).open("ab") as log:
        # A session of its own: interrupting a notebook's cell signals the whole process group of the kernel.
        process = subprocess.Popen(
            [sys.executable, "-m", "adbazureml.deployment.server", str(folder), *map(str, numbers)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=numbers,
            start_new_session=True,
        )
    _children[process.pid] = process
    return process.pid


def wait_until_healthy(
    pid: int, url: str, folder: Path, *, what: str, timeout: float, progress: Callable[[float], None]
) -> None:
    """Wait for the first answer to ``GET /ping``.

    Parameters
    ----------
    pid : int
        The server, a child of this process.
    url : str
        Where it will answer.
    folder : Path
        Its folder.
    what : str
        Beginning of the error's sentence.
    timeout : float
        Seconds to wait.
    progress : callable
        Called with the seconds waited, a few times a second.

    Raises
    ------
    DeploymentError
        The process died or is not healthy in time; with the end of its log.
    """
    began = time.monotonic()
    while not is_healthy(url, timeout=_PING_TIMEOUT_S):
        waited = time.monotonic() - began
        progress(waited)
        if _children[pid].poll() is not None:
            reason = last_lines(folder, 1) or f"exit code {_children[pid].returncode}"
            raise DeploymentError(f"{what} could not be loaded by its server: {reason}{_end_of_log(folder)}")
        if waited > timeout:
            raise DeploymentError(f"{what} is not healthy after {timeout:g} s; raise timeout.{_end_of_log(folder)}")
        time.sleep(_POLL_S)


def stop(pid: int, folder: Path) -> None:
    """Stop the server of a folder, by force if it does not end by itself, and drop its copy of the model."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _is_running(pid, folder):
            break
        os.kill(pid, number)
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while _is_running(pid, folder) and time.monotonic() < deadline:
            time.sleep(_POLL_S / 10)
    shutil.rmtree(folder / MODEL, ignore_errors=True)


def last_lines(folder: Path, lines: int) -> str:
    """The end of a server's log; empty when there is none."""
    log = folder / LOG
    if not log.exists():
        return ""
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "\n".join(said[-lines:])


def _is_running(pid: int, folder: Path) -> bool:
    if pid in _children:
        return _children[pid].poll() is None
    return is_server(pid, folder)


def _end_of_log(folder: Path) -> str:
    return f"\nThe end of {folder / LOG}:\n{last_lines(folder, _LOG_LINES_SHOWN)}"
