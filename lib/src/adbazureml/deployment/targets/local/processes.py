"""Start a server's process, wait until it is healthy, and stop it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from adbazureml.deployment.scoring_client import is_healthy
from adbazureml.deployment.target import LOG_LINES, Deadline, Progress, with_log
from adbazureml.deployment.targets.local.records import LOG, is_server

HOST = "127.0.0.1"
_PING_TIMEOUT_S = 2
_POLL_S = 0.2
# The server gives open requests 5 s to end.
_STOP_TIMEOUT_S = 10

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


def start(
    command: Sequence[str], folder: Path, sockets: Sequence[socket.socket], environment: Mapping[str, str]
) -> int:
    """Start the server of a folder; it gets the folder and its bound sockets as arguments. Return its process id."""
    numbers = [bound.fileno() for bound in sockets]
    with (folder / LOG).open("wb") as log:
        # A session of its own: interrupting a notebook's cell signals the whole process group of the kernel.
        process = subprocess.Popen(
            [*command, str(folder), *map(str, numbers)],
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=numbers,
            start_new_session=True,
        )
    _children[process.pid] = process
    return process.pid


def wait_until_healthy(
    pid: int, address: str, folder: Path, *, what: str, deadline: Deadline, progress: Progress
) -> None:
    """Wait for the first answer to a ``GET`` of the health address.

    Parameters
    ----------
    pid : int
        The server, a child of this process.
    address : str
        Where it answers once it is healthy.
    folder : Path
        Its folder.
    what : str
        Beginning of the error's sentence.

    Raises
    ------
    DeploymentError
        The process died or is not healthy in time; with the end of its log.
    """
    for waited in deadline.polls(_POLL_S):
        if is_healthy(address, timeout=_PING_TIMEOUT_S):
            return
        progress(f"loading the model, {waited:.0f} s")
        if not is_running(pid, folder):
            log = last_lines(folder, LOG_LINES)
            reason = _last_error(log) or f"exit code {_children[pid].returncode}"
            raise with_log(f"{what} could not be loaded by its server: {reason}", log, source=str(folder / LOG))
    raise deadline.missed(f"{what} is not healthy", log=last_lines(folder, LOG_LINES), source=str(folder / LOG))


def stop(pid: int, folder: Path) -> None:
    """Stop the server of a folder, by force if it does not end by itself."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not is_running(pid, folder):
            return
        os.kill(pid, number)
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while is_running(pid, folder) and time.monotonic() < deadline:
            time.sleep(_POLL_S / 10)


def last_lines(folder: Path, lines: int) -> str:
    """The end of a server's log, without colours; empty when there is none."""
    log = folder / LOG
    if not log.exists():
        return ""
    said = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(encoding="utf-8", errors="replace"))
    return "\n".join(said.strip().splitlines()[-lines:])


def is_running(pid: int, folder: Path) -> bool:
    """Whether the server of that folder runs."""
    if pid in _children:
        # A child's id is nobody else's until it was waited for, and its command may be read before it is set.
        return _children[pid].poll() is None
    return is_server(pid, folder)


def _last_error(log: str) -> str:
    """The error that a log ends with: its last line that names one, or the last line."""
    lines = [line for line in log.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (named or lines or [""])[-1].strip()
