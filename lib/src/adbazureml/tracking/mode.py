"""Choose where runs are tracked: Databricks, Azure ML, or both.

The choice lives in the environment (`pair`), so that processes started from the notebook share it, and nothing of
MLflow is patched.
"""

from __future__ import annotations

from typing import Literal

from adbazureml.azureml_mlflow.inherited_variables import find_inherited_variables
from adbazureml.errors import TrackingError
from adbazureml.text import logger
from adbazureml.tracking.store_pair import StorePair, switch_off
from adbazureml.workspaces import AzureMLWorkspace, DatabricksWorkspace

_logger = logger(__name__)

Mode = Literal["both", "databricks", "azureml"]


def track(workspace: AzureMLWorkspace | None = None, *, mode: Mode = "both", strict: bool = False) -> None:
    """Choose where `mlflow` tracks from now on; call `mlflow.set_experiment` after it.

    In mode "both" nobody waits for Azure ML, whether it answers, hangs, rejects or cannot be reached: what is logged
    goes there in threads of this process. What is guaranteed is the primary; the replica follows

    - within seconds while the process lives, by itself also after an outage of whatever length;
    - at the end of the interpreter, which waits up to 8 s for what is left;
    - where Python does not get to its exit (SIGTERM, SIGKILL, a driver that is shut down, often the end of a
      Databricks task and ``dbutils.notebook.exit``): when any process next calls `track`, or logs to the experiment,
      which brings over the ended runs that are left of the last 7 days; by `catch_up`; and by the job's task
      ``catch_up``. A run that was killed in its midst stays RUNNING in the primary, and is brought over by `catch_up`.

    `adbazureml.tracking.flush` waits until all is there, and so does `adbazureml.tracking.close`, which also ends the
    threads: call one before ``dbutils.notebook.exit``. Another mode or workspace closes what was open before.

    Parameters
    ----------
    workspace : AzureMLWorkspace, optional
        Needed for every mode but "databricks".
    mode : {"both", "databricks", "azureml"}
        "both": Databricks is the primary tracking store, written and read at each call; Azure ML follows it within
        ten seconds. The others track in one workspace only.
    strict : bool
        In mode "both", let the call that ends a run wait up to a minute, and fail when its counterpart could not be
        made equal. Otherwise it does not wait, a failure is a warning, and this process goes on trying.

    Raises
    ------
    TrackingError
        No such mode, or a workspace is needed and none is given.
    """
    import mlflow

    from adbazureml.tracking.outbox import close_outboxes, outbox_of

    if mode not in ("both", "databricks", "azureml"):
        raise TrackingError(f"mode {mode!r}: expected 'both', 'databricks' or 'azureml'.")
    if workspace is None and mode != "databricks":
        raise TrackingError(
            f"mode {mode!r} needs an Azure ML workspace: track(AzureMLWorkspace.get(…), mode={mode!r})."
        )
    switch_off()
    databricks = DatabricksWorkspace.current()
    primary = workspace if workspace is not None and mode == "azureml" else databricks
    if inherited := find_inherited_variables(primary.tracking_uri):
        _logger.warning(inherited)
    if workspace is None or mode != "both":
        mlflow.set_tracking_uri(primary.tracking_uri)
        close_outboxes()
        return
    pair = StorePair.of(databricks, workspace, strict=strict)
    # Made now: a URI that no store takes is told at once, and two threads never make the same SQLite file.
    _ = pair.primary, pair.replica
    pair.switch_on()
    mlflow.set_tracking_uri(databricks.tracking_uri)
    close_outboxes(but=pair)
    outbox_of(pair).bring_over_abandoned()
