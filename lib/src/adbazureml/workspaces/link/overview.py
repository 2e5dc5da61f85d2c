"""Show the two workspaces side by side, and whether each one's tracking store answers."""

from __future__ import annotations

import time
from dataclasses import dataclass

from adbazureml.errors import WorkspaceError
from adbazureml.text import html_table
from adbazureml.workspaces.azureml import AzureMLWorkspace
from adbazureml.workspaces.base import Workspace
from adbazureml.workspaces.databricks import DatabricksWorkspace


@dataclass(frozen=True, kw_only=True)
class ShownWorkspace:
    """A workspace whose tracking store answered.

    Attributes
    ----------
    workspace : Workspace
    experiments : int
        How many experiments are seen there, up to 1,000.
    seconds : float
        How long the answer took.
    """

    workspace: Workspace
    experiments: int
    seconds: float


@dataclass(frozen=True)
class Workspaces:
    """The workspaces in use, each of which answered."""

    shown: tuple[ShownWorkspace, ...]

    def _repr_html_(self) -> str:
        described = [
            {
                **one.workspace.described(),
                "experiments": str(one.experiments),
                "answered in": f"{one.seconds:.2f} s",
            }
            for one in self.shown
        ]
        names = dict.fromkeys(name for one in described for name in one)
        rows = [(name, *(one.get(name, "") for one in described)) for name in names]
        return html_table(rows, titles=("", *(type(one.workspace).__name__ for one in self.shown)))


def show_workspaces(databricks: DatabricksWorkspace, azureml: AzureMLWorkspace | None) -> Workspaces:
    """Ask each workspace's tracking store for its experiments.

    Parameters
    ----------
    azureml : AzureMLWorkspace or None
        None where Databricks is used alone.

    Raises
    ------
    WorkspaceError
        One of them does not answer.
    """
    return Workspaces(tuple(_ask(workspace) for workspace in (databricks, azureml) if workspace is not None))


def _ask(workspace: Workspace) -> ShownWorkspace:
    start = time.perf_counter()
    try:
        experiments = len(workspace.client().search_experiments(max_results=1000))
    except Exception as error:
        raise WorkspaceError(
            f"{type(workspace).__name__} {workspace.name!r}: its tracking store at {workspace.tracking_uri} does not"
            f" answer ({error})."
        ) from error
    return ShownWorkspace(workspace=workspace, experiments=experiments, seconds=time.perf_counter() - start)
