"""Choose where runs are tracked: Databricks, Azure ML, or both.

The choice lives in the environment (`pair`), so that processes started from the notebook share it, and nothing of
MLflow is patched.
"""

from __future__ import annotations

from typing import Literal

from adbazureml.errors import TrackingError
from adbazureml.text import logger
from adbazureml.tracking.pair import Pair, switch_off
from adbazureml.workspace import AzureMLWorkspace, DatabricksWorkspace, leaked_variables

_logger = logger(__name__)

Mode = Literal["both", "databricks", "azureml"]


def track(workspace: AzureMLWorkspace | None = None, *, mode: Mode = "both", strict: bool = False) -> None:
    """Choose where `mlflow` tracks from now on; call `mlflow.set_experiment` after it.

    Parameters
    ----------
    workspace : AzureMLWorkspace, optional
        Needed for every mode but "databricks".
    mode : {"both", "databricks", "azureml"}
        "both": Databricks is the primary tracking store, written and read at each call; Azure ML follows it within
        ten seconds, and a run's end waits up to ten more until its mirror is whole. The others track in one workspace
        only.
    strict : bool
        In mode "both", let the call that ends a run wait up to a minute, and fail when its mirror could not be made
        equal. Otherwise that is a warning, and this process goes on trying; `catch_up` mends what is left.

    Raises
    ------
    TrackingError
        No such mode, or a workspace is needed and none is given.
    """
    import mlflow

    if mode not in ("both", "databricks", "azureml"):
        raise TrackingError(f"mode {mode!r}: expected 'both', 'databricks' or 'azureml'.")
    if workspace is None and mode != "databricks":
        raise TrackingError(
            f"mode {mode!r} needs an Azure ML workspace: track(AzureMLWorkspace.get(…), mode={mode!r})."
        )
    switch_off()
    databricks = DatabricksWorkspace.current()
    primary = workspace if workspace is not None and mode == "azureml" else databricks
    if leaked := leaked_variables(primary.tracking_uri):
        _logger.warning(leaked)
    if workspace is None or mode != "both":
        mlflow.set_tracking_uri(primary.tracking_uri)
        return
    pair = Pair.of(databricks, workspace, strict=strict)
    # Made now: a URI that no store takes is told at once, and two threads never make the same SQLite file.
    _ = pair.primary, pair.secondary
    pair.switch_on()
    mlflow.set_tracking_uri(databricks.tracking_uri)
