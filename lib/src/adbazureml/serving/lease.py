"""How long a local server lives: a file in its folder, which it watches.

The server of a model runs in that model's environment, without this package: this module needs psutil only.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

GRACE_S = 5
_LEASE = "lease.json"
_CHECK_S = 0.5
# Create times are counted from the boot time, which moves when the clock is set.
_CREATE_TIME_TOLERANCE_S = 60


@dataclass(frozen=True, kw_only=True)
class Lease:
    """How long a server may live: for ever (``keep``), or as long as one of its owners.

    Attributes
    ----------
    keep : bool
        Whether the server outlives its owners.
    owners : tuple of (int, float)
        Process id and create time (seconds since the epoch) of each process that asked for the server.
    """

    keep: bool
    owners: tuple[tuple[int, float], ...]

    @property
    def living_owners(self) -> tuple[tuple[int, float], ...]:
        """The owners whose process still runs."""
        return tuple(owner for owner in self.owners if _is_alive(*owner))

    @property
    def ended(self) -> bool:
        """Whether the server has to stop."""
        return not self.keep and not self.living_owners


def this_process() -> tuple[int, float]:
    """The running process as an owner."""
    return os.getpid(), psutil.Process().create_time()


def read_lease(folder: Path) -> Lease:
    """Read a server's lease; one that is gone has ended, since nobody could find the server any more."""
    content = read(folder / _LEASE)
    if content is None:
        return Lease(keep=False, owners=())
    return Lease(keep=content["keep"], owners=tuple((pid, created) for pid, created in content["owners"]))


def write_lease(folder: Path, lease: Lease) -> None:
    """Replace a server's lease; the server reads it within half a second."""
    write(folder / _LEASE, asdict(lease))


def end_with_lease(folder: Path) -> None:
    """End this process with the lease of its folder: politely, and by force if that takes long."""

    def watch() -> None:
        while not read_lease(folder).ended:
            time.sleep(_CHECK_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(2 * GRACE_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def read(path: Path) -> dict[str, Any] | None:
    """Return what a JSON file holds; None when it is missing or no object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file: a reader sees the old one or the new one, never half of one."""
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(content, indent=2), encoding="utf-8")
    partial.replace(path)


def _is_alive(pid: int, created: float) -> bool:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < _CREATE_TIME_TOLERANCE_S
        return same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
