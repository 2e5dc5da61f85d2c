"""What the walk needs, what this place has, and putting in what is missing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from html import escape
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.version import Version

from adbazureml import runtime
from adbazureml.errors import EnvironmentNotReadyError
from adbazureml.runtime.java import SUPPORTED, find_java_home, not_found_message

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.errors import DatabricksError
    from databricks.sdk.service.compute import LibraryFullStatus

JAVA = "Java"
CLUSTER_ID_CONF = "spark.databricks.clusterUsageTags.clusterId"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0


@dataclass(frozen=True)
class Row:
    """One thing that must be there.

    Parameters
    ----------
    package : str
        Name of the package, or ``Java``.
    required : str
        The versions that fit, as a specifier like ``>=1.62,<2``.
    found : str or None
        The version that this process sees, or None.
    fine : bool
        Whether nothing more has to be done for it.
    note : str
        What a reader should know beside that.
    """

    package: str
    required: str
    found: str | None
    fine: bool
    note: str = ""

    @property
    def requirement(self) -> str:
        """The row as pip takes it: ``azureml-mlflow>=1.62,<2``."""
        return f"{self.package}{self.required}"


@dataclass(frozen=True)
class InstallReport:
    """What is required and what was found; a notebook shows it as a table."""

    rows: tuple[Row, ...]

    @property
    def missing(self) -> tuple[Row, ...]:
        """The rows that are absent or of a wrong version."""
        return tuple(row for row in self.rows if not row.fine)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(row.package)}</td><td>{escape(row.required)}</td><td>{escape(row.found or 'none')}</td>"
            f"<td>{'fine' if row.fine else '<b>missing</b>'}</td><td>{escape(row.note)}</td></tr>"
            for row in self.rows
        )
        return (
            "<table><tr><th>package</th><th>required</th><th>found</th><th></th><th>note</th></tr>" + rows + "</table>"
        )


def requirements() -> tuple[Requirement, ...]:
    """Return the packages that the walk needs here, as the wheel's own metadata names them.

    Databricks Runtime ML ships Spark and scikit-learn; elsewhere the extra ``local`` counts too.
    """
    extras = ("",) if runtime.on_databricks() else ("", "local")
    declared = [Requirement(line) for line in metadata.requires("adbazureml") or []]
    return tuple(
        requirement
        for requirement in declared
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)
    )


def check() -> InstallReport:
    """Compare what is required with what this process finds; locally Java too, which Spark runs on."""
    rows = [_row(requirement) for requirement in requirements()]
    if not runtime.on_databricks():
        rows.append(_java_row())
    return InstallReport(tuple(rows))


def install_missing(
    report: InstallReport,
    *,
    cluster_id: str | None = None,
    client: WorkspaceClient | None = None,
    timeout: float = 600,
) -> InstallReport:
    """Install on the cluster what the report says is missing, and wait until it is there.

    Only a Databricks cluster is changed. Locally and on serverless nothing is installed: what is missing raises, with
    the command that mends it.

    Parameters
    ----------
    report : InstallReport
        As `check` returns it. With nothing missing it comes back as it is.
    cluster_id : str, optional
        The cluster to install on; by default the one that this runs on.
    client : databricks.sdk.WorkspaceClient, optional
        Made from the notebook's own sign-in by default.
    timeout : float
        Seconds to wait for the installation.

    Returns
    -------
    InstallReport
        The state afterwards. A package that is on the cluster but not yet visible to this process says so in its note.

    Raises
    ------
    EnvironmentNotReadyError
        Something is missing locally or on serverless; the user is not signed in, or may not install on the cluster;
        the cluster is unknown or not running; a package failed to install; or time ran out.
    """
    if not report.missing:
        return report
    place = runtime.place()
    if place is runtime.Place.LOCAL:
        raise EnvironmentNotReadyError(_how_to_mend_locally(report.missing))
    if place is runtime.Place.SERVERLESS:
        raise EnvironmentNotReadyError(
            f"Missing: {_listed(report.missing)}. Serverless compute has no cluster libraries: add them in the "
            f"notebook's Environment panel, or run `%pip install {_quoted(report.missing)}` in its first cell."
        )
    from databricks.sdk.errors import DatabricksError

    cluster = cluster_id or _this_cluster()
    wanted = [row.requirement for row in report.missing]
    try:
        _install(client or _signed_in(), cluster, wanted, timeout)
    except DatabricksError as error:
        raise EnvironmentNotReadyError(_refused(error, cluster, report.missing)) from error
    except TimeoutError as error:
        raise EnvironmentNotReadyError(
            f"Cluster {cluster}: the workspace was busy or out of reach for too long ({error}). Run this again later."
        ) from error
    return InstallReport(tuple(row if row.fine else _row_after_install(row) for row in report.rows))


def model_requirements(*packages: str) -> list[str]:
    """Pin MLflow and the named packages as they are here, for ``log_model(pip_requirements=…)``.

    Given its requirements, MLflow need not infer them, which takes seconds for every model.

    Parameters
    ----------
    *packages : str
        Names as pip knows them, like ``scikit-learn``.

    Raises
    ------
    EnvironmentNotReadyError
        A package is not installed.

    Examples
    --------
    >>> model_requirements("scikit-learn")  # doctest: +SKIP
    ['mlflow==3.8.1', 'scikit-learn==1.6.1']
    """
    return [f"{package}=={_installable(package)}" for package in ("mlflow", *packages)]


def _row(requirement: Requirement) -> Row:
    found = _version(requirement.name)
    fine = found is not None and requirement.specifier.contains(found, prereleases=True)
    return Row(requirement.name, str(requirement.specifier), found, fine)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _java_row() -> Row:
    home, seen = find_java_home()
    versions = " or ".join(str(version) for version in SUPPORTED)
    if home is None:
        return Row(JAVA, versions, None, fine=False, note=f"seen: {seen}")
    return Row(JAVA, versions, str(home), fine=True)


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


def _signed_in() -> WorkspaceClient:
    from databricks.sdk import WorkspaceClient

    try:
        return WorkspaceClient()
    except ValueError as error:
        raise EnvironmentNotReadyError(f"Not signed in to a Databricks workspace: {error} Or give client.") from error


def _install(client: WorkspaceClient, cluster: str, wanted: list[str], timeout: float) -> None:
    from databricks.sdk.errors import InternalError
    from databricks.sdk.service.compute import Library, PythonPyPiLibrary, State

    state = client.clusters.get(cluster).state
    # Libraries of a stopped cluster stay PENDING until somebody starts it.
    if state not in (State.RUNNING, State.RESIZING):
        raise EnvironmentNotReadyError(
            f"Cluster {cluster} is {state.value if state else 'in no known state'}: start it, then run this again."
        )
    began = time.monotonic()
    client.libraries.install(cluster, [Library(pypi=PythonPyPiLibrary(package=package)) for package in wanted])
    told: dict[str, str] = {}
    pause = FIRST_PAUSE
    while True:
        try:
            told = _tell(_ours(client.libraries.cluster_status(cluster), wanted), told, time.monotonic() - began)
        except InternalError as error:
            # The installation goes on whether or not the service could say so just now.
            print(f"  no answer about cluster {cluster} ({error}); asking again")
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


def _ours(statuses: Iterable[LibraryFullStatus], wanted: list[str]) -> dict[str, LibraryFullStatus]:
    by_package = {status.library.pypi.package: status for status in statuses if status.library and status.library.pypi}
    return {package: by_package[package] for package in wanted if package in by_package}


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
    fresh = _row(Requirement(row.requirement))
    if fresh.fine:
        return fresh
    note = "installed on the cluster; run dbutils.library.restartPython() to use it in this notebook"
    return replace(fresh, fine=True, note=note)


def _refused(error: DatabricksError, cluster: str, missing: Iterable[Row]) -> str:
    from databricks.sdk.errors import PermissionDenied

    if isinstance(error, PermissionDenied):
        return (
            f"You may not install libraries on cluster {cluster} ({error}). Ask its owner for CAN MANAGE, or to add: "
            f"{', '.join(row.requirement for row in missing)}."
        )
    return f"Cluster {cluster}: {error} Check cluster_id, and that you are signed in to its workspace."


def _installable(package: str) -> str:
    found = _version(package)
    if found is None and find_spec(package) is not None:
        # Databricks Runtime has its own pyspark, which no package metadata names.
        found = getattr(import_module(package), "__version__", None)
    if found is None:
        raise EnvironmentNotReadyError(
            f"{package} is not installed, so a model can't require it: run `pip install {package}`, or name another."
        )
    version = Version(found)
    # PyPI has neither builds like 2.9.0+cpu nor the vendor's development versions.
    return version.base_version if version.is_devrelease else version.public
