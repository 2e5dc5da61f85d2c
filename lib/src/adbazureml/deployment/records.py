"""What is known of local endpoints on disk, shared by every process that uses the same local folder.

Layout: ``<home>/endpoints/<name>/endpoint.json`` names the server in charge; each server has a folder of its own
beside it, which holds its model, its log and its lease.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from adbazureml import runtime

LOG = "server.log"
MODEL = "model"
_LEASE = "lease.json"
_RECORD = "endpoint.json"
_LOCK = "endpoint.lock"
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


def read_lease(server_folder: Path) -> Lease:
    """Read a server's lease; one that is gone has ended, since nobody could find the server any more."""
    content = _read(server_folder / _LEASE)
    if content is None:
        return Lease(keep=False, owners=())
    return Lease(keep=content["keep"], owners=tuple((pid, created) for pid, created in content["owners"]))


def write_lease(server_folder: Path, lease: Lease) -> None:
    """Replace a server's lease; the server reads it within half a second."""
    _write(server_folder / _LEASE, asdict(lease))


def endpoint_folder(name: str) -> Path:
    """Folder of an endpoint, made if needed."""
    folder = _root() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def names() -> list[str]:
    """Names of the endpoints that have a record, their server running or not."""
    return sorted(path.parent.name for path in _root().glob(f"*/{_RECORD}"))


def read_record(name: str) -> dict[str, Any] | None:
    """Return the record of an endpoint; None when there is none or what it holds is not a record."""
    return _read(_root() / name / _RECORD)


def write_record(name: str, content: dict[str, Any]) -> None:
    """Make a server the one in charge of an endpoint."""
    _write(endpoint_folder(name) / _RECORD, content)


def remove_record(name: str) -> None:
    """Forget the server in charge."""
    (_root() / name / _RECORD).unlink(missing_ok=True)


def sweep(name: str, *, keep: Path | None) -> None:
    """Delete the folders of earlier servers but one; a stray server whose lease goes with them stops by itself."""
    for folder in endpoint_folder(name).iterdir():
        if folder.is_dir() and folder != keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(name: str, *, wait: bool = True) -> Iterator[bool]:
    """Let one process (or thread) at a time change an endpoint; yields whether the lock was got."""
    with (endpoint_folder(name) / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def is_server(pid: int, server_folder: Path) -> bool:
    """Whether the process is the server of that folder, and not another one that was given its id."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and str(server_folder) in process.cmdline()
    except psutil.Error:
        return False


def _is_alive(pid: int, created: float) -> bool:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < _CREATE_TIME_TOLERANCE_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _root() -> Path:
    return runtime.home() / "endpoints"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write(path: Path, content: dict[str, Any]) -> None:
    # A reader sees the old file or the new one, never half of one.
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(content, indent=2), encoding="utf-8")
    partial.replace(path)
