"""Endpoints on this machine: a server process for each deployment, reachable from this machine only.

It is Microsoft's inference server for Azure ML, in an environment of its own, so that what would run in the cloud is
tried here; where that can't be installed, MLflow's own scoring server.
"""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import socket
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adbazureml import serving
from adbazureml.deployment.load_test import Caller
from adbazureml.deployment.scoring_client import ask, is_healthy, session
from adbazureml.deployment.target import (
    Deadline,
    DeploymentState,
    EndpointState,
    Kind,
    Progress,
    State,
    Target,
)
from adbazureml.deployment.targets.local import environments, processes, records
from adbazureml.deployment.targets.local.options import Local
from adbazureml.deployment.targets.local.records import Server
from adbazureml.errors import DeploymentError
from adbazureml.serving import lease
from adbazureml.serving.traffic import ACCEPTING, OPEN, take_over

if TYPE_CHECKING:
    from adbazureml.deployment.deployable import Deployable

_INFERENCE_SERVER = Path(serving.__file__).parent / "inference_server.py"
_PING_TIMEOUT_S = 5
_START_TIMEOUT_S = 2
# As the scoring script names it.
_COLLECT = "ADBAZUREML_COLLECT"
# The server says itself that a request took too long; that shall arrive.
_ANSWER_MARGIN_S = 10
# What the process of the server needs beside the model and the server.
_PROCESS_NEEDS = ("psutil>=5.9", "gunicorn>=23,<28")
_PATHS = {"inference server": ("/score", "/"), "MLflow": ("/invocations", "/ping")}

# Endpoints that this process asked for; those that are not kept stop with it.
_held: set[str] = set()


class LocalTarget(Target):
    """The machine that runs this. A deployment without traffic listens at a port that nobody is told."""

    kind: Kind = "local"
    registry: Literal["azureml", "databricks"] | None = None
    splits_traffic = False
    # The first time, packages of 320 MB are installed; a server that dies is noticed at once.
    timeout: float = 600

    def __init__(self, options: Local) -> None:
        self._options = options

    def check(self, name: str, model: Deployable) -> None:  # noqa: ARG002
        """Refuse a port that is not the one of the endpoint, which keeps it for life."""
        port = self._options.port
        charge = records.in_charge(name)
        server = records.read_server(charge) if charge else None
        if server and port not in (0, server.port):
            raise DeploymentError(
                f"port {port}: endpoint {name!r} keeps port {server.port} as long as it is there; leave the port 0, or"
                " delete the endpoint first."
            )

    def find(self, name: str) -> EndpointState | None:
        """Return the endpoint, if a server of it takes traffic."""
        charge = records.in_charge(name)
        if charge is None:
            return None
        found = records.servers(name)
        serving = next(server for folder, server in found if folder == charge)
        return EndpointState(
            name=name,
            kind=self.kind,
            url=_address(serving.port, serving),
            auth="none",
            deployments=tuple(_state(folder, server, in_charge=folder == charge) for folder, server in found),
        )

    def create(self, name: str, deployment: str, model: Deployable, *, progress: Progress, deadline: Deadline) -> None:
        """Start the server of a deployment, asked at its private port until it is given traffic."""
        folder = records.endpoint_folder(name) / deployment
        with records.locked(name):
            server = records.read_server(folder)
            if server and processes.is_running(server.pid, folder):
                if server.healthy and is_healthy(_health(server), timeout=_PING_TIMEOUT_S):
                    _extend(folder, keep=lease.read_lease(folder).keep)
                    return
                processes.stop(server.pid, folder)
            progress("fetching the model")
            fetched = model.folder
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(fetched.path, folder)
            about = {
                "model": model.uri,
                "fingerprint": model.fingerprint,
                "collect": self._options.collect and str(Path(self._options.collect).resolve()),
                "environment": sorted(self._options.environment),
            }
            self._start(name, folder, model.requirements.wanted, about, progress=progress, deadline=deadline)

    def score(self, name: str, payload: Mapping[str, Any], *, deployment: str | None = None) -> Any:
        """Post a request of the scoring protocol and return the predictions."""
        with session() as connection:
            url = _url(name, deployment)
            return ask(connection, url, payload, timeout=self._options.request_timeout + _ANSWER_MARGIN_S)

    def caller(self, name: str) -> Caller:
        """Return a connection as callers have it; see `Target.caller`."""
        return session(), _url(name, None)

    def shift(self, name: str, traffic: Mapping[str, int], *, progress: Progress, deadline: Deadline) -> None:
        """Let one deployment accept the endpoint's connections, then the one that did no longer, and stop that."""
        (deployment,) = (each for each, percent in traffic.items() if percent)
        folder = records.endpoint_folder(name) / deployment
        with records.locked(name):
            server = records.read_server(folder)
            if server is None:
                raise DeploymentError(f"endpoint {name!r} has no deployment {deployment!r} any more: deploy it again.")
            old = records.in_charge(name)
            before = records.read_server(old) if old else None
            if before and before.port != server.port:
                # It was started beside another server of the endpoint, which is gone.
                processes.stop(server.pid, folder)
            if not processes.is_running(server.pid, folder):
                requirements = (folder / "environment" / "wanted.txt").read_text(encoding="utf-8").splitlines()
                about = {
                    "model": server.model,
                    "fingerprint": server.fingerprint,
                    "collect": server.collect,
                    "environment": server.environment,
                }
                server = self._start(name, folder, requirements, about, progress=progress, deadline=deadline)
            (folder / OPEN).touch()
            processes.wait_until(
                (folder / ACCEPTING).exists,
                server.pid,
                folder,
                what=f"endpoint {name!r}",
                doing="moving the traffic",
                deadline=deadline,
                progress=progress,
            )
            old_lease = lease.read_lease(old) if old else None
            records.put_in_charge(name, deployment)
            if old and before and old_lease and old != folder:
                owners = {*old_lease.living_owners, *lease.read_lease(folder).living_owners}
                lease.write_lease(folder, lease.Lease(keep=old_lease.keep, owners=tuple(owners)))
                processes.drain(before.pid, old, deadline=deadline, progress=progress)
                _stop(old)

    def logs(self, name: str, deployment: str, lines: int) -> str:
        """Return the last lines that a server printed; kept until its deployment is made again."""
        return processes.last_lines(records.endpoint_folder(name) / deployment, lines)

    def remove(self, name: str, deployment: str) -> None:
        """Stop the server of a deployment and drop its folder."""
        folder = records.endpoint_folder(name) / deployment
        _stop(folder)
        shutil.rmtree(folder, ignore_errors=True)

    def delete(self, name: str) -> None:
        """Stop all servers of an endpoint; their logs stay until it is deployed again."""
        with records.locked(name):
            records.forget(name)
            for folder, _ in records.servers(name):
                _stop(folder)
                for part in ("model", "code", "environment"):
                    shutil.rmtree(folder / part, ignore_errors=True)

    def list(self) -> list[EndpointState]:
        """Return the endpoints that run on this machine, whichever process deployed them."""
        return [found for name in records.names() if (found := self.find(name))]

    def hold(self, name: str) -> None:
        """Let the endpoint live as long as this process, or for ever where it is to be kept."""
        if charge := records.in_charge(name):
            _extend(charge, keep=self._options.keep)
            _held.add(name)

    def release(self, name: str) -> None:
        """Stop the endpoint, unless it is kept or another process holds it."""
        _held.discard(name)
        charge = records.in_charge(name)
        if charge is None:
            return
        held = lease.read_lease(charge)
        others = tuple(owner for owner in held.living_owners if owner[0] != os.getpid())
        if held.keep or others:
            lease.write_lease(charge, replace(held, owners=others))
        else:
            self.delete(name)

    def _start(
        self,
        name: str,
        folder: Path,
        requirements: Sequence[str],
        about: Mapping[str, Any],
        *,
        progress: Progress,
        deadline: Deadline,
    ) -> Server:
        """Start the server of a deployable folder on a private socket, with another bound for callers."""
        for left in (OPEN, ACCEPTING):
            (folder / left).unlink(missing_ok=True)
        (folder / "environment" / "wanted.txt").write_text("\n".join(requirements), encoding="utf-8")
        lease.write_lease(folder, lease.Lease(keep=False, owners=(lease.this_process(),)))
        command, environment, note = self._command(folder, requirements, progress)
        if about["collect"]:
            if note:
                raise DeploymentError(
                    f"collect {about['collect']!r}: MLflow's server keeps no rows; leave it out. {note}"
                )
            environment[_COLLECT] = about["collect"]
        environment |= self._variables(about["environment"])
        with self._sockets(name) as sockets:
            server = Server(
                pid=processes.start(command, folder, sockets, environment),
                private_port=sockets[0].getsockname()[1],
                port=sockets[1].getsockname()[1],
                software="MLflow" if note else "inference server",
                made=datetime.now(timezone.utc).isoformat(),
                note=note,
                **about,
            )
        records.write_server(folder, server)
        what = f"endpoint {name!r}: the model {server.model}"
        try:
            processes.wait_until(
                lambda: is_healthy(_health(server), timeout=_START_TIMEOUT_S),
                server.pid,
                folder,
                what=what,
                doing="loading the model",
                deadline=deadline,
                progress=progress,
            )
        except BaseException:
            processes.stop(server.pid, folder)
            raise
        server = replace(server, healthy=True)
        records.write_server(folder, server)
        return server

    def _variables(self, names: Sequence[str]) -> dict[str, str]:
        """Variables of a deployment as it was given them; one that is started again has those of this process."""
        found = {**{name: os.environ[name] for name in names if name in os.environ}, **self._options.environment}
        if missing := [name for name in names if name not in found]:
            raise DeploymentError(
                f"environment: the model needs {', '.join(missing)}: set it in this process's environment."
            )
        return {name: found[name] for name in names}

    def _command(
        self, folder: Path, requirements: Sequence[str], progress: Progress
    ) -> tuple[Sequence[str], dict[str, str], str]:
        """Command and environment variables of the server, and why it is not the inference server."""
        limit = self._options.request_timeout
        try:
            python = environments.interpreter([*requirements, *_PROCESS_NEEDS], progress=progress)
        except DeploymentError as error:
            note = f"{error} MLflow's own scoring server answers instead."
            warnings.warn(note, stacklevel=2)
            # Workers of a Spark model must be this interpreter, not the first python3 on the PATH.
            variables = {"PYSPARK_PYTHON": sys.executable, "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": f"{limit:.0f}"}
            return [sys.executable, "-m", "adbazureml.serving.mlflow_server"], variables, note
        variables = {
            "AML_APP_ROOT": str(folder / "code"),
            "AZUREML_ENTRY_SCRIPT": str(folder / "code" / "score.py"),
            "AZUREML_MODEL_DIR": str(folder / "model"),
            "AML_APP_INSIGHTS_ENABLED": "false",
            "SCORING_TIMEOUT_MS": f"{limit * 1000:.0f}",
            "WORKER_TIMEOUT": f"{limit + 30:.0f}",
            "PYSPARK_PYTHON": str(python),
            "MLFLOW_TRACKING_URI": (folder / "mlruns").as_uri(),
            # The model's environment has none of this one's packages.
            "PYTHONPATH": "",
        }
        return [str(python), str(_INFERENCE_SERVER)], variables, ""

    @contextmanager
    def _sockets(self, name: str) -> Iterator[tuple[socket.socket, socket.socket]]:
        """Bind a private port, and the one that callers are told; the latter shared with the server in charge."""
        with self._public(name) as public, processes.bind(0) as private:
            yield private, public

    def _public(self, name: str) -> socket.socket:
        charge = records.in_charge(name)
        if charge:
            try:
                return take_over(charge)
            except OSError as error:
                raise DeploymentError(
                    f"endpoint {name!r} does not hand its port over ({error.strerror or error}): delete it, and deploy"
                    " again."
                ) from error
        # An endpoint whose server died comes up where its callers know it.
        last = next((server.port for _, server in reversed(records.servers(name))), 0)
        if not self._options.port and last:
            with suppress(OSError):
                return processes.bind(last)
        try:
            return processes.bind(self._options.port)
        except OSError as error:
            raise DeploymentError(_port_problem(self._options.port, error)) from error


def _url(name: str, deployment: str | None) -> str:
    """Where an endpoint is asked, or one of its deployments."""
    charge = records.endpoint_folder(name) / deployment if deployment else records.in_charge(name)
    server = records.read_server(charge) if charge else None
    if server is None:
        raise DeploymentError(f"Nothing answers at endpoint {name!r}: the endpoint was stopped; deploy it again.")
    return _address(server.private_port if deployment else server.port, server)


def _address(port: int, server: Server) -> str:
    return f"http://{processes.HOST}:{port}{_PATHS[server.software][0]}"


def _health(server: Server) -> str:
    return f"http://{processes.HOST}:{server.private_port}{_PATHS[server.software][1]}"


def _state(folder: Path, server: Server, *, in_charge: bool) -> DeploymentState:
    state: State
    if processes.is_running(server.pid, folder):
        answers = server.healthy and is_healthy(_health(server), timeout=_PING_TIMEOUT_S)
        state = "healthy" if answers else "creating"
    else:
        state = "stopped" if server.healthy and (folder / "model").exists() else "failed"
    return DeploymentState(
        name=folder.name,
        model=server.model,
        fingerprint=server.fingerprint,
        state=state,
        traffic=100 if in_charge else 0,
        made=server.started,
        note=server.note,
    )


def _extend(folder: Path, *, keep: bool) -> None:
    owners = {*lease.read_lease(folder).living_owners, lease.this_process()}
    lease.write_lease(folder, lease.Lease(keep=keep, owners=tuple(owners)))


def _stop(folder: Path) -> None:
    if server := records.read_server(folder):
        processes.stop(server.pid, folder)


def _port_problem(port: int, error: OSError) -> str:
    cure = "set another port, or 0 for a free one."
    if error.errno == errno.EADDRINUSE:
        taken = (name for name in records.names() for _, server in records.servers(name) if server.port == port)
        other = next(taken, None)
        return f"port {port} is in use by {f'endpoint {other!r}' if other else 'another program'}: {cure}"
    return f"port {port} can't be used ({error.strerror}): {cure}"


@atexit.register
def _leave() -> None:
    """Stop what nobody else holds, rather than wait for the servers to notice."""
    for name in tuple(_held):
        with suppress(DeploymentError, OSError):
            LocalTarget(Local()).release(name)
