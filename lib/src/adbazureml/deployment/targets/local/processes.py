"""Start a server's process, wait until it is healthy, and stop it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from adbazureml.deployment.target import LOG_LINES, Deadline, Progress, with_log
from adbazureml.deployment.targets.local.records import LOG, is_server
from adbazureml.serving.traffic import ACCEPTING, OPEN

HOST = "127.0.0.1"
_POLL_S = 0.1
# The server gives open requests 5 s to end.
_STOP_TIMEOUT_S = 10

# What a server is given of the environment: nothing that could hold a secret of whoever deploys.
_INHERITED = re.compile(
    "PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|TMP|TEMP|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|PYTHONPATH"
    "|PYTHONHASHSEED|JAVA_HOME|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    "|(OMP|MKL|OPENBLAS|NUMEXPR)_NUM_THREADS|(CUDA|NVIDIA)_VISIBLE_DEVICES"
    "|MLFLOW_(LOGGING_LEVEL|CONFIGURE_LOGGING|DISABLE_SCHEMA_DETAILS|DEFAULT_PREDICTION_DEVICE)"
)

# A child must be waited for, or it stays a zombie until this process ends.
_children: dict[int, subprocess.Popen[bytes]] = {}


def bind(port: int) -> socket.socket:
    """Bind a port of this machine for a server to listen on; 0 binds a free one.

    Raises
    ------
    OSError
        The port is in use or not allowed.
    """
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        raise
    return bound


def start(
    command: Sequence[str], folder: Path, sockets: Sequence[socket.socket], environment: Mapping[str, str]
) -> int:
    """Start the server of a folder; it gets the folder and its bound sockets as arguments. Return its process id.

    Of this process's environment it gets what programs need to run, such as ``PATH`` and ``HOME``; the rest is what is
    given here.
    """
    numbers = [bound.fileno() for bound in sockets]
    with (folder / LOG).open("wb") as log:
        # A session of its own: interrupting a notebook's cell signals the whole process group of the kernel.
        process = subprocess.Popen(
            [*command, str(folder), *map(str, numbers)],
            cwd=folder,
            env={**_inherited(), "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=numbers,
            start_new_session=True,
        )
    _children[process.pid] = process
    return process.pid


def wait_until(
    ready: Callable[[], bool], pid: int, folder: Path, *, what: str, doing: str, deadline: Deadline, progress: Progress
) -> None:
    """Wait until the server of a folder is ready.

    Parameters
    ----------
    ready : callable
        Whether it is.
    pid : int
        The server.
    folder : Path
        Its folder.
    what : str
        Beginning of the error's sentence.
    doing : str
        What it does meanwhile, for whoever waits.

    Raises
    ------
    DeploymentError
        The process died or is not ready in time; with the end of its log.
    """
    for waited in deadline.polls(_POLL_S):
        if ready():
            return
        progress(f"{doing}, {waited:.0f} s")
        if not is_running(pid, folder):
            log = last_lines(folder, LOG_LINES)
            reason = _last_error(log) or f"exit code {_children[pid].returncode if pid in _children else 'unknown'}"
            raise with_log(f"{what} could not be loaded by its server: {reason}", log, source=str(folder / LOG))
    raise deadline.missed(f"{what} is not healthy", log=last_lines(folder, LOG_LINES), source=str(folder / LOG))


def drain(pid: int, folder: Path, *, deadline: Deadline, progress: Progress) -> None:
    """Let the server of a folder take no new connections, and end those that it has; wait for that."""
    (folder / OPEN).unlink(missing_ok=True)
    for waited in deadline.polls(_POLL_S):
        if not (folder / ACCEPTING).exists() or not is_running(pid, folder):
            return
        progress(f"waiting for open requests, {waited:.0f} s")


def stop(pid: int, folder: Path) -> None:
    """Stop the server of a folder, by force if it does not end by itself."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not is_running(pid, folder):
            return
        # A parent that is killed tells its workers nothing.
        os.kill(pid, number) if number == signal.SIGTERM else os.killpg(pid, number)
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while is_running(pid, folder) and time.monotonic() < deadline:
            time.sleep(_POLL_S / 5)


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


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name)}


def _last_error(log: str) -> str:
    """The error that a log ends with: its last line that names one, or the last line."""
    lines = [line for line in log.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (named or lines or [""])[-1].strip()
