"""What is known of local endpoints on disk, shared by every process that uses the same local folder.

Layout: ``<home>/endpoints/<name>/endpoint.json`` names the deployment in charge; each deployment has a folder of its
own beside it, with its deployable folder, the record of its server (``server.json``), its log and its lease.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import psutil

from adbazureml import runtime
from adbazureml.serving import lease

LOG = "server.log"
_SERVER = "server.json"
_ENDPOINT = "endpoint.json"
_LOCK = "endpoint.lock"


@dataclass(frozen=True, kw_only=True)
class Server:
    """The server of a deployment.

    Attributes
    ----------
    pid : int
        Its process.
    private_port, port : int
        Where it is asked whatever the traffic is, and where callers ask it.
    software : {"inference server", "MLflow"}
        What answers.
    model, fingerprint : str
        The model's URI, and what tells it from others.
    made : str
        When it was started, in ISO format.
    healthy : bool
        Whether it ever was.
    note : str
        Why it is not the inference server.
    collect : str
        The folder in which rows and predictions are kept; empty: they are not.
    environment : sequence of str
        Names of the variables that it was given; their values, which may be secrets, are written nowhere.
    """

    pid: int
    private_port: int
    port: int
    software: str
    model: str
    fingerprint: str
    made: str
    healthy: bool = False
    note: str = ""
    collect: str = ""
    environment: Sequence[str] = ()

    @property
    def started(self) -> datetime:
        """When it was started, with time zone."""
        return datetime.fromisoformat(self.made)


def endpoint_folder(name: str) -> Path:
    """Folder of an endpoint, made if needed."""
    folder = _root() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def names() -> list[str]:
    """Names of the endpoints that have a deployment in charge, whether its server runs or not."""
    return sorted(path.parent.name for path in _root().glob(f"*/{_ENDPOINT}"))


def servers(name: str) -> list[tuple[Path, Server]]:
    """Folder and server of each deployment of an endpoint, in the order in which they were started."""
    folders = [path.parent for path in (_root() / name).glob(f"*/{_SERVER}")]
    found = [(folder, server) for folder in folders if (server := read_server(folder))]
    return sorted(found, key=lambda each: each[1].started)


def read_server(folder: Path) -> Server | None:
    """Return the record of a deployment's server; None when there is none, or what is there is none."""
    content = lease.read(folder / _SERVER)
    try:
        server = Server(**content or {})
        datetime.fromisoformat(server.made)
    except (TypeError, ValueError):
        return None
    return server


def write_server(folder: Path, server: Server) -> None:
    """Replace the record of a deployment's server."""
    lease.write(folder / _SERVER, asdict(server))


def in_charge(name: str) -> Path | None:
    """Folder of the deployment that takes the traffic, if its server runs; a record of another one is removed."""
    content = lease.read(_root() / name / _ENDPOINT)
    if content is not None or (_root() / name / _ENDPOINT).exists():
        folder = _root() / name / str((content or {}).get("deployment"))
        server = read_server(folder)
        if server and is_server(server.pid, folder):
            return folder
        forget(name)
    return None


def put_in_charge(name: str, deployment: str) -> None:
    """Record which deployment takes the traffic."""
    lease.write(endpoint_folder(name) / _ENDPOINT, {"deployment": deployment})


def forget(name: str) -> None:
    """Record that none takes the traffic."""
    (_root() / name / _ENDPOINT).unlink(missing_ok=True)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Let one process (or thread) at a time change an endpoint."""
    with (endpoint_folder(name) / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_server(pid: int, folder: Path) -> bool:
    """Whether the process is the server of that folder, and not another one that was given its id."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and str(folder) in process.cmdline()
    except psutil.Error:
        return False


def _root() -> Path:
    return runtime.home() / "endpoints"
