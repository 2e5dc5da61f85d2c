"""Find what a tool of this folder started, and end it, whatever that is busy with."""

from __future__ import annotations

import os
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

# Seconds that the system gets to end processes that were killed: on a busy machine it takes its time.
_KILL_SECONDS = 20.0
_POLL_SECONDS = 0.02
_VARIABLE = "STARTED_BY_TOOL"


def mark() -> None:
    """Let all that this process starts from now on be found by `end_started`, also when what started it has ended."""
    os.environ[_VARIABLE] = uuid.uuid4().hex


def end_started(*, grace: float = 0.0) -> None:
    """End all that this process started since `mark`, and what that started, and wait until it is gone.

    Parameters
    ----------
    grace : float
        Seconds that the processes get to end by themselves, before they are killed.
    """
    import psutil

    if grace:
        for process in _started():
            with suppress(psutil.Error):
                process.terminate()
        _wait(grace)
    until = time.monotonic() + _KILL_SECONDS
    # Again, for what they started meanwhile.
    while (left := _started()) and time.monotonic() < until:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        _wait(_POLL_SECONDS)


def having(variable: str, value: str) -> list[psutil.Process]:
    """The living processes with an environment variable; one that has ended and nobody waited for does not live."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(variable) == value and _lives(process):
                found.append(process)
    return found


def running(program: str, *, since: float) -> list[psutil.Process]:
    """The living processes whose command line names a program, or a folder that it is in, started since then."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            named = any(program in part for part in process.cmdline())
            if named and process.create_time() >= since and _lives(process):
                found.append(process)
    return found


def _started() -> list[psutil.Process]:
    import psutil

    this = psutil.Process()
    # One that was forked just now and does not run its own program yet has no mark yet.
    children = filter(_lives, this.children())
    return [process for process in {*children, *having(_VARIABLE, os.environ[_VARIABLE])} if process != this]


def _lives(process: psutil.Process) -> bool:
    import psutil

    with suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _wait(seconds: float) -> None:
    until = time.monotonic() + seconds
    while _started() and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
