"""Show the two workspaces side by side, and whether each one's tracking store answers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from html import escape

from adbazureml.errors import WorkspaceError
from adbazureml.workspace import AzureMLWorkspace, DatabricksWorkspace, Workspace
from adbazureml.workspace.workspace import link


@dataclass(frozen=True, kw_only=True)
class Reached:
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

    reached: tuple[Reached, ...]

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(type(one.workspace).__name__)}</th>" for one in self.reached)
        rows = {
            "workspace": [escape(one.workspace.name) for one in self.reached],
            "tracking URI": [f"<code>{escape(one.workspace.tracking_uri)}</code>" for one in self.reached],
            "registry URI": [f"<code>{escape(one.workspace.registry_uri)}</code>" for one in self.reached],
            "page": [link(one.workspace.url) for one in self.reached],
            **self._facts(),
            "experiments": [str(one.experiments) for one in self.reached],
            "answered in": [f"{one.seconds:.2f} s" for one in self.reached],
        }
        body = "".join(
            f"<tr><td>{name}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" for name, cells in rows.items()
        )
        return f"<table><tr><th></th>{head}</tr>{body}</table>"

    def _facts(self) -> dict[str, list[str]]:
        facts = [one.workspace.facts() for one in self.reached]
        return {name: [escape(known.get(name, "")) for known in facts] for known in facts for name in known}


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
    return Workspaces(tuple(_reach(workspace) for workspace in (databricks, azureml) if workspace is not None))


def _reach(workspace: Workspace) -> Reached:
    start = time.perf_counter()
    try:
        experiments = len(workspace.client().search_experiments(max_results=1000))
    except Exception as error:
        raise WorkspaceError(
            f"{type(workspace).__name__} {workspace.name!r}: its tracking store at {workspace.tracking_uri} does not"
            f" answer ({error})."
        ) from error
    return Reached(workspace=workspace, experiments=experiments, seconds=time.perf_counter() - start)
