"""Put what is missing on a cluster, through the Libraries API."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from adbazureml import runtime
from adbazureml.errors import EnvironmentNotReadyError
from adbazureml.runtime.java import not_found_message
from adbazureml.text import first_line
from adbazureml.workspaces.databricks import databricks_sign_in
from adbazureml.workspaces.databricks_refusals import explain_error
from adbazureml.workspaces.install.report import JAVA, InstallReport, Row, row_of, verify

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.errors import DatabricksError
    from databricks.sdk.service.compute import ClusterDetails, Library, LibraryFullStatus

CLUSTER_ID_CONF = "spark.databricks.clusterUsageTags.clusterId"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0


def install_missing(
    report: InstallReport,
    *,
    cluster_id: str | None = None,
    client: WorkspaceClient | None = None,
    start: bool = False,
    timeout: float = 600,
) -> InstallReport:
    """Install on the cluster what the report says is missing, wait until it is there, and import it.

    Only a Databricks cluster that people work on is changed. Locally, on serverless and in a job nothing is installed:
    what is missing raises, with what mends it.

    Parameters
    ----------
    report : InstallReport
        As `check` returns it. With nothing missing it comes back as it is.
    cluster_id : str, optional
        The cluster to install on; by default the one that this runs on.
    client : databricks.sdk.WorkspaceClient, optional
        Made from the notebook's own sign-in by default.
    start : bool
        Whether to start the cluster where it is stopped.
    timeout : float
        Seconds to wait for the installation, and as many for a start.

    Returns
    -------
    InstallReport
        The state afterwards. A package that is on the cluster but not yet visible to this process says so in its note.

    Raises
    ------
    EnvironmentNotReadyError
        A package was found not to import; something is missing locally, on serverless or in a job; the user may not
        install on the cluster; the cluster is unknown, not running, or ends meanwhile; a package failed to install, or
        does not import then; or time ran out.
    WorkspaceError
        This process is signed in to no Databricks workspace.
    """
    if not report.missing:
        return report
    if broken := [row for row in report.missing if not row.importable]:
        raise EnvironmentNotReadyError(
            "There, but of no use: "
            + "; ".join(f"{row.package} {row.found or ''} {row.note}" for row in broken)
            + ". Another package does not fit it: compare with the versions in requirements.txt, or install anew."
        )
    place = runtime.place()
    if place is runtime.Place.LOCAL:
        raise EnvironmentNotReadyError(_how_to_mend_locally(report.missing))
    if place is runtime.Place.SERVERLESS:
        raise EnvironmentNotReadyError(
            f"Missing: {_listed(report.missing)}. Serverless compute has no cluster libraries: add them in the "
            f"notebook's Environment panel, or run `%pip install {_quoted(report.missing)}` in its first cell."
        )
    if runtime.in_job():
        raise EnvironmentNotReadyError(
            f"Missing: {_listed(report.missing)}. A job's libraries come from its definition, and a run changes nothing"
            " on its cluster: add them to the task's `libraries` (in the bundle: resources/), or to its environment."
        )
    from databricks.sdk.service.compute import Library, PythonPyPiLibrary

    cluster = cluster_id or _this_cluster()
    wanted = {row.requirement: Library(pypi=PythonPyPiLibrary(package=row.requirement)) for row in report.missing}
    _install(client or databricks_sign_in(), cluster, wanted, start=start, timeout=timeout)
    after = InstallReport(tuple(row if row.fine else _row_after_install(row) for row in report.rows))
    if cluster_id is None:
        new = (row for row, was in zip(after.rows, report.rows, strict=True) if not was.fine)
        install_missing(verify(InstallReport(tuple(new))))
    return after


def install_wheel(
    path: str, *, cluster_id: str, client: WorkspaceClient, start: bool = False, timeout: float = 600
) -> None:
    """Install a wheel that lies in the workspace on a cluster, and wait until it is there.

    Parameters
    ----------
    path : str
        Where it lies, as ``/Workspace/Users/…/adbazureml-….whl``.
    cluster_id, client, start, timeout
        As in `install_missing`.

    Raises
    ------
    EnvironmentNotReadyError
        As in `install_missing`.
    """
    from databricks.sdk.service.compute import Library

    _install(client, cluster_id, {path: Library(whl=path)}, start=start, timeout=timeout)


def is_stopped(client: WorkspaceClient, cluster_id: str) -> bool:
    """Whether a cluster is stopped, so that somebody must start it."""
    from databricks.sdk.errors import DatabricksError
    from databricks.sdk.service.compute import State

    try:
        return client.clusters.get(cluster_id).state is State.TERMINATED
    except DatabricksError as error:
        raise EnvironmentNotReadyError(_explain_error(error, cluster_id, ())) from error


def _how_to_mend_locally(missing: Iterable[Row]) -> str:
    packages = [row for row in missing if row.package != JAVA]
    parts = [not_found_message(row.note.removeprefix("seen: ")) for row in missing if row.package == JAVA]
    if packages:
        parts.insert(
            0,
            f"Missing: {_listed(packages)}. Run `make` in the project, or `pip install {_quoted(packages)}`.",
        )
    return "\n".join(parts)


def _listed(rows: Iterable[Row]) -> str:
    return ", ".join(f"{row.requirement} (found {row.found or 'none'})" for row in rows)


def _quoted(rows: Iterable[Row]) -> str:
    return " ".join(f"'{row.requirement}'" for row in rows)


def _this_cluster() -> str:
    cluster: str | None = runtime.spark().conf.get(CLUSTER_ID_CONF, None)
    if not cluster:
        raise EnvironmentNotReadyError(
            f"Spark does not say which cluster this is ({CLUSTER_ID_CONF}): give cluster_id."
        )
    return cluster


def _install(
    client: WorkspaceClient, cluster: str, wanted: Mapping[str, Library], *, start: bool, timeout: float
) -> None:
    from databricks.sdk.errors import DatabricksError

    try:
        _make_ready(client, cluster, start=start, timeout=timeout)
        client.libraries.install(cluster, list(wanted.values()))
        _wait_until_installed(client, cluster, list(wanted), timeout)
    except DatabricksError as error:
        raise EnvironmentNotReadyError(_explain_error(error, cluster, wanted)) from error
    except TimeoutError as error:
        raise EnvironmentNotReadyError(
            f"Cluster {cluster}: the workspace was busy or out of reach for too long ({error}). Run this again later."
        ) from error


def _make_ready(client: WorkspaceClient, cluster: str, *, start: bool, timeout: float) -> None:
    """Return when the cluster runs. Libraries of a stopped one stay PENDING until somebody starts it."""
    from databricks.sdk.service.compute import State

    state = client.clusters.get(cluster).state
    if state in (State.RUNNING, State.RESIZING):
        return
    coming = state in (State.PENDING, State.RESTARTING)
    if not coming and not (start and state is State.TERMINATED):
        offer = " or let this start it: install_missing(report, start=True)." if state is State.TERMINATED else ""
        raise EnvironmentNotReadyError(
            f"Cluster {cluster} is {state.value if state else 'in no known state'}: start it, then run this again,"
            f"{offer}"
        )
    if not coming:
        client.clusters.start(cluster)
    began, pause, told = time.monotonic(), FIRST_PAUSE, ""
    while True:
        details = client.clusters.get(cluster)
        seconds = time.monotonic() - began
        if details.state and details.state.value != told:
            told = details.state.value
            print(f"  cluster {cluster}: {told} ({seconds:.0f} s)", flush=True)
        if details.state is State.RUNNING:
            return
        if details.state in (State.TERMINATED, State.TERMINATING, State.ERROR):
            raise EnvironmentNotReadyError(
                f"Cluster {cluster} did not start: {_termination_reason(details)}. See its event log."
            )
        if seconds + pause > timeout:
            raise EnvironmentNotReadyError(
                f"Cluster {cluster} has not started within {timeout:g} s. It goes on starting: run this again."
            )
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _wait_until_installed(client: WorkspaceClient, cluster: str, wanted: list[str], timeout: float) -> None:
    from databricks.sdk.errors import InternalError

    began, pause = time.monotonic(), FIRST_PAUSE
    told: dict[str, str] = {}
    while True:
        try:
            told = _tell(_ours(client.libraries.cluster_status(cluster), wanted), told, time.monotonic() - began)
            if all(told.get(package, "PENDING") == "PENDING" for package in wanted):
                # So it is before the first step, and again for ever once the cluster has ended.
                _check_alive(client, cluster)
        except InternalError as error:
            # The installation goes on whether or not the service could say so just now.
            print(f"  no answer about cluster {cluster} ({first_line(error)}); asking again")
        if all(told.get(package) in ("INSTALLED", "RESTORED") for package in wanted):
            return
        waited = time.monotonic() - began
        if waited + pause > timeout:
            states = ", ".join(f"{package}: {told.get(package, 'unknown')}" for package in wanted)
            raise EnvironmentNotReadyError(
                f"Not installed on cluster {cluster} within {timeout:g} s ({states}). The installation goes on: look "
                "at the cluster's Libraries tab, and run this again."
            )
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _check_alive(client: WorkspaceClient, cluster: str) -> None:
    from databricks.sdk.service.compute import State

    details = client.clusters.get(cluster)
    if details.state in (State.TERMINATED, State.TERMINATING, State.ERROR):
        raise EnvironmentNotReadyError(
            f"Cluster {cluster} ended during the installation: {_termination_reason(details)}. What was asked for is"
            " installed when it starts again: start it, then run this again."
        )


def _termination_reason(details: ClusterDetails) -> str:
    reason = details.termination_reason
    code = reason.code.value if reason and reason.code else ""
    return " ".join(filter(None, (code, details.state_message))) or "no reason given"


def _ours(statuses: Iterable[LibraryFullStatus], wanted: list[str]) -> dict[str, LibraryFullStatus]:
    by_name = {}
    for status in statuses:
        library = status.library
        name = library and (library.pypi.package if library.pypi else library.whl)
        if name:
            by_name[name] = status
    return {name: by_name[name] for name in wanted if name in by_name}


def _tell(statuses: Mapping[str, LibraryFullStatus], told: dict[str, str], seconds: float) -> dict[str, str]:
    """Print what changed and return the states; raise for packages that will not come."""
    now = {package: status.status.value for package, status in statuses.items() if status.status}
    for package, state in now.items():
        if told.get(package) != state:
            print(f"  {package}: {state} ({seconds:.0f} s)")
    failed = [
        f"{package}: {' '.join(statuses[package].messages or ['no reason given'])}"
        for package, state in now.items()
        if state in ("FAILED", "SKIPPED")
    ]
    if failed:
        raise EnvironmentNotReadyError(
            "Not installed: "
            + "; ".join(failed)
            + ". Uninstall it in the cluster's Libraries tab before trying again; "
            "a cluster without access to PyPI needs a package mirror."
        )
    return now


def _row_after_install(row: Row) -> Row:
    fresh = row_of(Requirement(row.requirement))
    if fresh.fine:
        return fresh
    note = "installed on the cluster; run dbutils.library.restartPython() to use it in this notebook"
    return replace(fresh, fine=True, note=note)


_REFUSALS = {
    "PermissionDenied": (
        "You may not install libraries on cluster {cluster} ({answer}). Ask its owner for CAN MANAGE, or to add:"
        " {wanted}."
    ),
    "DatabricksError": "Cluster {cluster}: {answer}. Check cluster_id, and that you are signed in to its workspace.",
}
_MAY_NOT_START = "You may not start cluster {cluster} ({answer}). Ask its owner to start it, or for CAN RESTART."


def _explain_error(error: DatabricksError, cluster: str, wanted: Iterable[str]) -> str:
    may_not_start = {"PermissionDenied": _MAY_NOT_START} if "Restart" in str(error) else {}
    return explain_error(error, {**_REFUSALS, **may_not_start}, cluster=cluster, wanted=", ".join(wanted))
