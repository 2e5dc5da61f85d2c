"""Import the notebooks into a Databricks workspace, and say how to run them there."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from adbazureml.errors import EnvironmentNotReadyError, WorkspaceError
from adbazureml.workspaces.databricks_refusals import explain_error

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

_PACKAGE = Path(__file__).parent.parent
CLUSTERS_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Notebooks in a workspace: their folder, their paths in the order of the walk, and the folder's page."""

    folder: str
    paths: tuple[str, ...]
    link: str


def notebooks() -> list[Path]:
    """The notebooks, from the wheel or, in a checkout, from their own folder; in the order of the walk.

    Raises
    ------
    EnvironmentNotReadyError
        They are in neither.
    """
    for folder in (_PACKAGE / "notebooks", _PACKAGE.parents[2] / "notebooks"):
        if found := sorted(folder.glob("[0-9][0-9]_*.ipynb")):
            return found
    raise EnvironmentNotReadyError(
        f"The notebooks are neither in the package ({_PACKAGE}) nor beside it: install the wheel anew."
    )


def import_notebooks(client: WorkspaceClient, *, folder: str = "", overwrite: bool = False) -> Imported:
    """Import all notebooks, or none where one of their names is in use.

    Parameters
    ----------
    client : databricks.sdk.WorkspaceClient
    folder : str
        Path in the workspace; empty: ``adbazureml`` in the user's home folder. It is made if needed.
    overwrite : bool
        Whether to replace what has one of their names there.

    Raises
    ------
    WorkspaceError
        A name is in use, the folder may not be written or is none, or the workspace does not answer.
    """
    from databricks.sdk.errors import DatabricksError
    from databricks.sdk.service.workspace import ImportFormat

    found = notebooks()
    try:
        target = _target(client, folder)
        client.workspace.mkdirs(target)
        if not overwrite:
            _check_free(client, target, {path.stem for path in found})
        paths = []
        for path in found:
            paths.append(f"{target}/{path.stem}")
            content = base64.b64encode(path.read_bytes()).decode()
            client.workspace.import_(paths[-1], format=ImportFormat.JUPYTER, content=content, overwrite=overwrite)
    except DatabricksError as error:
        raise WorkspaceError(explain_error(error, _REFUSALS, folder=folder or "your home folder")) from error
    except TimeoutError as error:
        raise WorkspaceError(
            f"The Databricks workspace was busy or out of reach for too long ({error}). Run this again with"
            " --overwrite, as some of the notebooks may be there already."
        ) from error
    return Imported(folder=target, paths=tuple(paths), link=f"{client.config.host}/#workspace{quote(target)}")


def put_wheel(client: WorkspaceClient, wheel: str, *, folder: str) -> str:
    """Put a wheel into a folder of the workspace, in place of one of the same name; return its path.

    Raises
    ------
    WorkspaceError
        The folder may not be written, or the workspace does not answer.
    """
    from databricks.sdk.errors import DatabricksError
    from databricks.sdk.service.workspace import ImportFormat

    path = f"/Workspace{folder}/{Path(wheel).name}"
    try:
        content = io.BytesIO(Path(wheel).read_bytes())
        client.workspace.upload(path, content, format=ImportFormat.AUTO, overwrite=True)
    except DatabricksError as error:
        raise WorkspaceError(explain_error(error, _REFUSALS, folder=folder)) from error
    return path


def attach_hint(client: WorkspaceClient, *, cluster_id: str = "") -> str:
    """Say which cluster to attach the notebooks to: the one named, or those of Databricks Runtime ML.

    Raises
    ------
    WorkspaceError
        There is no such cluster.
    """
    from databricks.sdk.errors import DatabricksError

    host = client.config.host
    try:
        if cluster_id:
            one = client.clusters.get(cluster_id)
            return f"Open 01_install and attach cluster {one.cluster_name}: {host}/compute/clusters/{cluster_id}"
        ours = [one for one in client.clusters.list() if "-ml-" in (one.spark_version or "")]
    except DatabricksError as error:
        raise WorkspaceError(f"cluster_id {cluster_id!r}: {error}") from error
    if not ours:
        return f"There is no cluster of Databricks Runtime ML yet: make one at {host}/compute, then attach it."
    lines = [
        f"  {one.cluster_name} ({one.spark_version}, {one.state.value if one.state else 'unknown'}): "
        f"{host}/compute/clusters/{one.cluster_id}"
        for one in ours[:CLUSTERS_SHOWN]
    ]
    return "\n".join(["Open 01_install and attach a cluster of Databricks Runtime ML, with the wheel on it:", *lines])


def _target(client: WorkspaceClient, folder: str) -> str:
    if not folder:
        return f"/Users/{client.current_user.me().user_name}/adbazureml"
    if not folder.startswith("/"):
        raise WorkspaceError(f"FOLDER {folder!r}: give a path from the root, such as /Shared/adbazureml.")
    # One folder, two spellings.
    return "/" + folder.removeprefix("/Workspace").strip("/")


def _check_free(client: WorkspaceClient, target: str, names: set[str]) -> None:
    there = {(one.path or "").rpartition("/")[2] for one in client.workspace.list(target)}
    if taken := sorted(names & there):
        raise WorkspaceError(
            f"{target} has {', '.join(taken)} already; nothing was imported. Give --overwrite to replace them, or"
            " another folder."
        )


_REFUSALS = {
    "PermissionDenied": "You may not write to {folder} ({answer}). Give another folder, or ask for CAN EDIT on it.",
    "DatabricksError": "{folder}: {answer}",
}
