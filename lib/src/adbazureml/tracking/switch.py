"""Choose where runs are tracked: Databricks, Azure ML, or both.

The choice lives in environment variables, so that processes started from the notebook share it, and nothing of MLflow
is patched.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Literal

from adbazureml.errors import TrackingError
from adbazureml.workspace import AzureMLWorkspace, DatabricksWorkspace

if TYPE_CHECKING:
    from adbazureml.tracking.mirror import Mirror

_logger = logging.getLogger(__name__)
_PRIMARY, _PRIMARY_URL = "_ADBAZUREML_PRIMARY", "_ADBAZUREML_PRIMARY_URL"
_SECONDARY, _SECONDARY_URL = "_ADBAZUREML_SECONDARY", "_ADBAZUREML_SECONDARY_URL"
_STRICT = "_ADBAZUREML_STRICT"

Mode = Literal["both", "databricks", "azureml"]


def track(workspace: AzureMLWorkspace | None = None, *, mode: Mode = "both", strict: bool = False) -> None:
    """Choose where `mlflow` tracks from now on; call `mlflow.set_experiment` after it.

    Parameters
    ----------
    workspace : AzureMLWorkspace, optional
        Needed for every mode but "databricks".
    mode : {"both", "databricks", "azureml"}
        "both": Databricks is the primary tracking store, written and read at each call; when a run ends it is
        mirrored to Azure ML. The others track in one workspace only.
    strict : bool
        In mode "both", let the call that ends a run fail when its mirror could not be made equal. Otherwise that is a
        warning, and `catch_up` mends it later.

    Raises
    ------
    TrackingError
        No such mode, or a workspace is needed and none is given.
    """
    import mlflow

    if mode not in ("both", "databricks", "azureml"):
        raise TrackingError(f"mode {mode!r}: expected 'both', 'databricks' or 'azureml'.")
    for variable in (_PRIMARY, _PRIMARY_URL, _SECONDARY, _SECONDARY_URL, _STRICT):
        os.environ.pop(variable, None)
    if mode == "databricks":
        mlflow.set_tracking_uri(DatabricksWorkspace.current().tracking_uri)
        return
    if workspace is None:
        raise TrackingError(
            f"mode {mode!r} needs an Azure ML workspace: track(AzureMLWorkspace.get(…), mode={mode!r})."
        )
    if mode == "azureml":
        mlflow.set_tracking_uri(workspace.tracking_uri)
        return
    databricks = DatabricksWorkspace.current()
    os.environ[_PRIMARY], os.environ[_PRIMARY_URL] = databricks.tracking_uri, databricks.url
    os.environ[_SECONDARY], os.environ[_SECONDARY_URL] = workspace.tracking_uri, workspace.url
    if strict:
        os.environ[_STRICT] = "1"
    mlflow.set_tracking_uri(databricks.tracking_uri)


def mirror() -> Mirror | None:
    """Return the mirror that mode "both" keeps, or None in the other modes."""
    from adbazureml.tracking.mirror import Mirror

    if _SECONDARY not in os.environ:
        return None
    return Mirror(
        primary_uri=os.environ[_PRIMARY],
        primary_url=os.environ[_PRIMARY_URL],
        secondary_uri=os.environ[_SECONDARY],
        secondary_url=os.environ[_SECONDARY_URL],
    )


def run_changed_status(store_uri: str, run_id: str, status: Any) -> None:
    """Settle a run that has just ended in the primary store; called by the store itself.

    Raises
    ------
    TrackingError
        With ``strict`` only: the run could not be settled.
    """
    from mlflow.entities import RunStatus

    if store_uri != os.environ.get(_PRIMARY) or not RunStatus.is_terminated(status):
        return
    current = mirror()
    if current is None:
        return
    outcome = current.settle(run_id)
    if outcome.settled:
        return
    message = f"Run {run_id} is not whole in Azure ML yet ({outcome.reason}); catch_up(run_ids=['{run_id}']) mends it."
    if os.environ.get(_STRICT):
        raise TrackingError(message)
    _logger.warning(message)
