"""Endpoints on this machine: one server process each, replaced only by a healthy one."""

from __future__ import annotations

import atexit
import errno
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from adbazureml.deployment import processes, records
from adbazureml.deployment.endpoint import Endpoint
from adbazureml.errors import DeploymentError

if TYPE_CHECKING:
    from mlflow.models import Model

# Endpoints that this process asked for; those that are not kept stop with it.
_asked_for: dict[Path, Endpoint] = {}


def deploy(model_uri: str, *, name: str, port: int, keep: bool, timeout: float) -> Endpoint:
    """Serve a model on this machine; see `adbazureml.deployment.deploy`."""
    model_uuid = find_model(model_uri).model_uuid or ""
    with records.locked(name):
        old = _running(name)
        if old and (old.model_uri, old.model_uuid) == (model_uri, model_uuid) and port in (0, old.port):
            _extend_lease(old, keep=keep)
            if old.status() == "healthy":
                return old
        records.sweep(name, keep=old.log.parent if old else None)
        new = _start(model_uri, model_uuid, name=name, port=port, timeout=timeout, old=old)
        records.write_record(name, new.as_record())
        # Until the record names it, the new server lives no longer than this process.
        _extend_lease(new, keep=keep)
        if old:
            processes.stop(old.pid, old.log.parent)
    return new


def running() -> list[Endpoint]:
    """Every endpoint whose server runs; records of others are removed."""
    found = (_running(name) for name in records.names())
    return [endpoint for endpoint in found if endpoint]


def find_model(model_uri: str) -> Model:
    """Return the description of a model.

    Raises
    ------
    DeploymentError
        There is no such model.
    """
    import mlflow
    from mlflow.models import Model

    try:
        return Model.load(model_uri)
    except Exception as error:  # each kind of store has errors of its own
        raise DeploymentError(
            f"model_uri {model_uri!r} can't be read from {mlflow.get_registry_uri()}: {_first_line(error)} Check its"
            " name and version, or register it first."
        ) from error


def _running(name: str) -> Endpoint | None:
    record = records.read_record(name)
    if record is None:
        return None
    try:
        endpoint = Endpoint.from_record(record)
    except (KeyError, TypeError, ValueError):
        endpoint = None
    if endpoint and records.is_server(endpoint.pid, endpoint.log.parent):
        return endpoint
    records.remove_record(name)
    return None


def _start(model_uri: str, model_uuid: str, *, name: str, port: int, timeout: float, old: Endpoint | None) -> Endpoint:
    folder = records.endpoint_folder(name) / uuid4().hex
    folder.mkdir()
    records.write_lease(folder, records.Lease(keep=False, owners=(records.this_process(),)))
    what = f"endpoint {name!r}: the model {model_uri}"
    with _sockets(port, old) as sockets, _progress(f"endpoint {name!r}") as show:
        show("fetching the model")
        _fetch(model_uri, folder / records.MODEL)
        pid = processes.start(folder, sockets)
        # While the old server listens at the same port, only the second socket is surely answered by the new one.
        url, private_url = (f"http://{processes.HOST}:{s.getsockname()[1]}" for s in (sockets[0], sockets[-1]))
        started = datetime.now(timezone.utc)
        for bound in sockets:
            bound.close()
        try:
            processes.wait_until_healthy(
                pid,
                private_url,
                folder,
                what=what,
                timeout=timeout,
                progress=lambda waited: show(f"loading the model, {waited:.0f} s"),
            )
        except BaseException:
            processes.stop(pid, folder)
            raise
    return Endpoint(
        name=name,
        url=url,
        model_uri=model_uri,
        model_uuid=model_uuid,
        pid=pid,
        port=int(url.rpartition(":")[2]),
        log=folder / records.LOG,
        started=started,
    )


@contextmanager
def _sockets(port: int, old: Endpoint | None) -> Iterator[list[socket.socket]]:
    """Bind what a server needs: its port, and a second one to be asked at while the old server listens at the first."""
    shared = bool(port) and old is not None and old.port == port
    try:
        bound = [processes.bind(port, shared=shared)]
    except OSError as error:
        raise DeploymentError(_port_problem(port, error)) from error
    if shared:
        bound.append(processes.bind(0))
    try:
        yield bound
    finally:
        for each in bound:
            each.close()


def _port_problem(port: int, error: OSError) -> str:
    cure = "set another port, or 0 for a free one."
    if error.errno == errno.EADDRINUSE:
        other = next((endpoint.name for endpoint in running() if endpoint.port == port), None)
        return f"endpoint_port {port} is in use by {f'endpoint {other!r}' if other else 'another program'}: {cure}"
    return f"endpoint_port {port} can't be used ({error.strerror}): {cure}"


def _fetch(model_uri: str, to: Path) -> None:
    from mlflow.artifacts import download_artifacts

    to.mkdir()
    try:
        download_artifacts(artifact_uri=model_uri, dst_path=str(to))
    except Exception as error:  # each kind of store has errors of its own
        raise DeploymentError(f"model_uri {model_uri!r} could not be fetched: {_first_line(error)}") from error


def _extend_lease(endpoint: Endpoint, *, keep: bool) -> None:
    folder = endpoint.log.parent
    owners = {*records.read_lease(folder).living_owners, records.this_process()}
    records.write_lease(folder, records.Lease(keep=keep, owners=tuple(owners)))
    _asked_for[folder] = endpoint


@atexit.register
def _leave() -> None:
    """Stop what nobody else asked for, rather than wait for the servers to notice."""
    for folder, endpoint in _asked_for.items():
        lease = records.read_lease(folder)
        if not lease.keep and {pid for pid, _ in lease.living_owners} == {os.getpid()}:
            endpoint.stop()


@contextmanager
def _progress(what: str) -> Iterator[Callable[[str], None]]:
    """Show one line that changes, where somebody looks: in a notebook or a terminal."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    watched = getattr(shell, "kernel", None) is not None or sys.stderr.isatty()

    shown = ""

    def show(step: str) -> None:
        nonlocal shown
        if watched and step != shown:
            shown = step
            print(f"\r{what}: {step:<40}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if watched:
            print("\r" + " " * (len(what) + 42), end="\r", file=sys.stderr, flush=True)


def _first_line(error: Exception) -> str:
    line = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{line or type(error).__name__}."
