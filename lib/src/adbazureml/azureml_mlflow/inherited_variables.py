"""What the environment of another run leaves behind, and MLflow would take for this process's own."""

from __future__ import annotations

import os
from dataclasses import dataclass

from adbazureml.azure.workspace_address import WorkspaceAddress

_RUN_IDS = ("MLFLOW_RUN_ID", "AZUREML_RUN_ID")
_EXPERIMENT_ID, _EXPERIMENT_NAME = "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"
_TOKEN, _TRACKING_URI = "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_URI"

# `mlflow.set_experiment` sets the variable too. MLflow loads this package's entry points while it is imported, so what
# is there now is not of this process.
_INHERITED = {name: os.environ.get(name) for name in (*_RUN_IDS, _EXPERIMENT_ID)}


@dataclass(frozen=True)
class InheritedVariables:
    """Environment variables of another run; as text, one sentence that says so and the way out.

    Attributes
    ----------
    names : tuple of str
    tracking_uri : str
        Where that run is tracked, as far as the environment says.
    """

    names: tuple[str, ...]
    tracking_uri: str

    def __str__(self) -> str:
        where = f" at {self.tracking_uri}" if self.tracking_uri else ""
        them = "it" if len(self.names) == 1 else "them"
        return (
            f"The environment holds {', '.join(self.names)} of another run{where}, which MLflow would take for this"
            f" process's own: unset {them} before the process starts, or delete {them} from os.environ."
        )


def find_inherited_variables(tracking_uri: str) -> InheritedVariables | None:
    """Find variables of another run in the environment; call it before ``mlflow.set_tracking_uri``.

    An Azure ML job, and a process that another run started, inherit a run and an experiment. They are their own, and
    nothing inherited, as long as the job tracks where ``MLFLOW_TRACKING_URI`` says: the ids mean nothing to another
    server. A run id breaks `mlflow.start_run` there, an experiment id too; ``AZUREML_RUN_ID`` keeps a run from being
    ended; ``MLFLOW_TRACKING_TOKEN`` beside a run id is taken for the token of that run. An experiment alone, which
    people set on purpose, counts only where it is of another server.

    Parameters
    ----------
    tracking_uri : str
        Where runs are going to be tracked.

    Returns
    -------
    InheritedVariables or None
        None when nothing was inherited.
    """
    inherited_uri = os.environ.get(_TRACKING_URI, "")
    if inherited_uri and _same_store(inherited_uri, tracking_uri):
        return None
    names = [name for name in _RUN_IDS if os.environ.get(name)]
    of_a_run = bool(names)
    experiment_id = os.environ.get(_EXPERIMENT_ID)
    if experiment_id and experiment_id == _INHERITED[_EXPERIMENT_ID] and (of_a_run or inherited_uri):
        names.append(_EXPERIMENT_ID)
    names += [name for name in (_EXPERIMENT_NAME, _TOKEN) if of_a_run and os.environ.get(name)]
    return InheritedVariables(tuple(names), inherited_uri) if names else None


def inherited_from(value: str) -> str:
    """Name the variable that a run's or experiment's id came in by; empty when this process was not started with it.

    MLflow takes ``MLFLOW_RUN_ID`` out of the environment before it asks for the run.
    """
    return next((name for name, inherited in _INHERITED.items() if inherited == value), "")


def _same_store(one: str, other: str) -> bool:
    first, second = WorkspaceAddress.find(one), WorkspaceAddress.find(other)
    if first is not None and second is not None:
        # A job may reach its workspace by another host, and the names are spelled in any case.
        return first.arm_id.lower() == second.arm_id.lower()
    return one.rstrip("/") == other.rstrip("/")
