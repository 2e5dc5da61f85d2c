"""What the walk needs, what this place has, and whether it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from html import escape
from importlib import metadata

from packaging.requirements import Requirement

from adbazureml import runtime
from adbazureml.runtime.java import SUPPORTED, find_java_home
from adbazureml.runtime.stacks import STACKS, cluster_runtime, unsupported_runtime
from adbazureml.settings import ENVIRONMENT_PREFIX, Settings
from adbazureml.text import TEXT_TABLE

JAVA = "Java"
RUNTIME = "Databricks Runtime"
# The extra of the wheel that a deploy target needs; the others need none.
EXTRAS = {"azureml": "deploy", "aks": "deploy", "aci": "deploy"}
IMPORT_SECONDS = 300.0


@dataclass(frozen=True)
class Row:
    """One thing that must be there.

    Parameters
    ----------
    package : str
        Name of the package, or ``Java``, or ``Databricks Runtime``.
    required : str
        The versions that fit, as a specifier like ``>=1.62,<2``.
    found : str or None
        The version that this process sees, or None.
    fine : bool
        Whether nothing more has to be done for it.
    note : str
        What a reader should know beside that.
    importable : bool
        False where `verify` found that it does not import; the note says why.
    """

    package: str
    required: str
    found: str | None
    fine: bool
    note: str = ""
    importable: bool = True

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
        head = "<tr><th>package</th><th>required</th><th>found</th><th></th><th>note</th></tr>"
        return f"{TEXT_TABLE}{head}{rows}</table>"


def asked_deploy_target() -> str:
    """Return the notebook's parameter `deploy_target`, read alone: nothing else has to be set to install packages.

    It is the job's parameter or the notebook's widget, or else ``ADBAZUREML_DEPLOY_TARGET``, or else the default.

    Raises
    ------
    SettingsError
        There is no such target.
    """
    name = "deploy_target"
    default = os.environ.get(f"{ENVIRONMENT_PREFIX}{name.upper()}", str(Settings.model_fields[name].default))
    value = runtime.parameters({name: default}, others=()).get(name, default)
    # Without a workspace, which the settings would ask for.
    checked = Settings.checked({name: value, "tracking": "databricks", "registry": "databricks"})
    return checked.deploy_target


def requirements(*, deploy_target: str = "local") -> tuple[Requirement, ...]:
    """Return the packages that the walk needs here, as the wheel's own metadata names them.

    Databricks Runtime ML ships Spark and scikit-learn; elsewhere the extra ``local`` counts too.

    Parameters
    ----------
    deploy_target : str
        Where the endpoint is to run: ``azureml``, ``aks`` and ``aci`` need the extra ``deploy``.
    """
    declared = [Requirement(line) for line in metadata.requires("adbazureml") or []]
    return tuple(requirement for requirement in declared if _applies(requirement, _extras(deploy_target)))


def check(*, deploy_target: str = "local") -> InstallReport:
    """Compare what is required with what this process finds; locally Java too, which Spark runs on.

    On a cluster a row names its runtime; one that was not tried, or that Databricks no longer supports, has a note.

    Parameters
    ----------
    deploy_target : str
        As in `requirements`. The note of a row says if a package is there for it alone.
    """
    always = requirements()
    rows = [
        row if requirement in always else replace(row, note=f"for deploy_target {deploy_target}")
        for requirement in requirements(deploy_target=deploy_target)
        for row in [row_of(requirement)]
    ]
    if not runtime.on_databricks():
        rows.append(_java_row())
    if version := cluster_runtime():
        tried = ", ".join(stack.version for stack in STACKS)
        rows.append(Row(RUNTIME, tried, version, fine=True, note=unsupported_runtime(version, date.today())))
    return InstallReport(tuple(rows))


def verify(report: InstallReport) -> InstallReport:
    """Import what the report says is fine, in a process of its own; what does not import is no longer fine.

    A package can be there and of the right version, and still not import, because of another that is not what it was
    built with. A new process also sees what was installed on the cluster since this one began.

    Parameters
    ----------
    report : InstallReport
        As `check` or `install_missing` return it.

    Returns
    -------
    InstallReport
        The same rows; of those that fail, the note has the reason.
    """
    packages = [row.package for row in report.rows if row.fine and row.package not in {JAVA, RUNTIME}]
    reasons = _import_errors(packages)
    broken = {
        row.package: replace(row, fine=False, importable=False, note=f"does not import: {reasons[row.package]}")
        for row in report.rows
        if row.package in reasons
    }
    return InstallReport(tuple(broken.get(row.package, row) for row in report.rows))


def row_of(requirement: Requirement) -> Row:
    """What this process finds of a package."""
    found = version_of(requirement.name)
    fine = found is not None and requirement.specifier.contains(found, prereleases=True)
    return Row(requirement.name, str(requirement.specifier), found, fine)


def version_of(package: str) -> str | None:
    """The version of a package that this process finds, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _extras(deploy_target: str) -> tuple[str, ...]:
    local = () if runtime.on_databricks() else ("local",)
    needed = EXTRAS.get(deploy_target)
    return ("", *local, needed) if needed else ("", *local)


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


def _java_row() -> Row:
    home, seen = find_java_home()
    versions = " or ".join(str(version) for version in SUPPORTED)
    if home is None:
        return Row(JAVA, versions, None, fine=False, note=f"seen: {seen}")
    return Row(JAVA, versions, str(home), fine=True)


def _import_errors(packages: Iterable[str]) -> dict[str, str]:
    """Why a package does not import, for each one that does not."""
    wanted = list(packages)
    if not wanted:
        return {}
    try:
        child = subprocess.run(
            [sys.executable, "-m", "adbazureml.workspaces.install.import_check", *wanted],
            capture_output=True,
            text=True,
            timeout=IMPORT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return dict.fromkeys(wanted, f"not within {IMPORT_SECONDS:.0f} s, all together")
    try:
        told: dict[str, str] = json.loads(child.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        # An extension that ends the process says nothing more.
        return dict.fromkeys(wanted, f"the process that tried ended with {child.returncode}: {child.stderr[-300:]}")
    return told
