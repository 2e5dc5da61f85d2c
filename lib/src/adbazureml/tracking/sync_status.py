"""How far the runs of an experiment are equal in both workspaces."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from adbazureml.errors import TrackingError
from adbazureml.tracking import run_tags
from adbazureml.tracking.outbox import outbox_of
from adbazureml.tracking.store_pair import current_pair
from adbazureml.tracking.sync_record import has_ended, out_of_sync_tags, seconds_since, snapshot_digest, time_text

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run

    from adbazureml.tracking.run_sync_state import RunSyncState

_NEWEST = 1000


@dataclass(frozen=True, kw_only=True)
class RunState:
    """How far a run is equal to its counterpart, as the run in Databricks tells.

    Attributes
    ----------
    run_id, run_name, counterpart_run_id : str
        The run, and its counterpart, empty when there is none yet.
    state : {"in sync", "running", "out of sync"}
        A running run is followed, and reconciled at its end.
    since : str
        Time, UTC.
    reason : str
        Why it is out of sync; of a run that is in sync, what Azure ML rejects of it, and why.
    link : str
        Page of the counterpart; empty when there is none yet.
    items : int
        How many points, params, tags and datasets of it wait in this process.
    seconds : float
        For how long something of it is not in Azure ML; 0 where all of it is there, as far as is known.
    is_rejected : bool
        Whether Azure ML rejects something of it for good.
    """

    run_id: str
    run_name: str
    counterpart_run_id: str
    state: Literal["in sync", "running", "out of sync"]
    since: str
    reason: str = ""
    link: str = ""
    items: int = 0
    seconds: float = 0.0
    is_rejected: bool = False


@dataclass(frozen=True)
class Status:
    """A row for each run, the newest first."""

    mode: str
    runs: tuple[RunState, ...]

    @property
    def out_of_sync(self) -> tuple[RunState, ...]:
        """The runs that are not equal."""
        return tuple(run for run in self.runs if run.state == "out of sync")

    @property
    def metrics(self) -> dict[str, float]:
        """How far Azure ML is behind, as numbers to log or to alert on.

        ``runs_behind``, ``items_waiting`` (in this process; what a process forgot for want of room, or another one has,
        is not counted), ``seconds_behind`` (of what waits longest) and ``runs_rejected`` (of which something is
        rejected for good).
        """
        return {
            "runs_behind": float(sum(run.seconds > 0 for run in self.runs)),
            "items_waiting": float(sum(run.items for run in self.runs)),
            "seconds_behind": max((run.seconds for run in self.runs), default=0.0),
            "runs_rejected": float(sum(run.is_rejected for run in self.runs)),
        }

    @property
    def line(self) -> str:
        """All of it in one line."""
        behind = self.metrics
        if not behind["runs_behind"]:
            return self.mode
        return (
            f"{self.mode} Azure ML is behind by {behind['runs_behind']:.0f} runs, the longest for"
            f" {behind['seconds_behind']:.0f} s; {behind['items_waiting']:.0f} items wait in this process."
        )

    def to_pandas(self) -> pd.DataFrame:
        """One row a run."""
        import pandas as pd

        return pd.DataFrame([asdict(run) for run in self.runs])

    def __str__(self) -> str:
        return f"{self.line}\n{self.to_pandas().to_string(index=False)}" if self.runs else self.mode

    def _repr_html_(self) -> str:
        table = str(self.to_pandas().to_html(index=False, render_links=True)) if self.runs else ""
        return f"<p>{self.line}</p>{table}"


def status(experiment: str | None = None) -> Status:
    """Show which runs of an experiment are in sync in both workspaces, and which are out of sync, since when and why.

    Parameters
    ----------
    experiment : str, optional
        Its name; the one that `mlflow.set_experiment` chose when left out.

    Returns
    -------
    Status
        The newest 1,000 runs.

    Raises
    ------
    TrackingError
        There is no such experiment, or none is chosen.
    """
    import mlflow

    pair = current_pair()
    if pair is None:
        return Status(f"Runs are tracked in one workspace: {mlflow.get_tracking_uri()}.", ())
    if experiment is not None:
        found = pair.primary.get_experiment_by_name(experiment)
        if found is None:
            raise TrackingError(f"experiment {experiment!r}: there is none of that name in Databricks.")
        experiment_id = found.experiment_id
    else:
        # MLflow keeps its choice there for the processes that it starts.
        experiment_id = os.environ.get("MLFLOW_EXPERIMENT_ID", "")
        if not experiment_id:
            raise TrackingError("No experiment is chosen: status(experiment=…), or call mlflow.set_experiment first.")
    from mlflow.entities import ViewType

    runs = pair.primary.search_runs([experiment_id], "", ViewType.ACTIVE_ONLY, _NEWEST, ["attributes.start_time DESC"])
    here = {sync_state.run_id: sync_state for sync_state in outbox_of(pair).sync_states()}
    states = tuple(_state(run, here.get(run.info.run_id)) for run in runs)
    equal = sum(state.state == "in sync" for state in states)
    return Status(f"Runs are tracked in both workspaces; {equal} of {len(states)} are in sync.", states)


def _state(run: Run, sync_state: RunSyncState | None) -> RunState:
    record = run.data.tags.get(run_tags.IN_SYNC, "")
    tag_value = min(out_of_sync_tags(run).values(), default="")
    state: Literal["in sync", "running", "out of sync"]
    if record.endswith(f" {snapshot_digest(run)}") and not tag_value and (sync_state is None or sync_state.is_idle):
        state, since, why = "in sync", record.partition(" ")[0], run.data.tags.get(run_tags.REJECTED, "")
    else:
        tagged_at, _, why = tag_value.partition(" ")
        if sync_state is not None:
            why = sync_state.reason or why or (f"{sync_state.changes.size} items wait" if sync_state.changes else "")
        if not has_ended(run) and not (sync_state and sync_state.reason):
            state, since = "running", time_text(run.info.start_time)
        else:
            state, since = "out of sync", tagged_at or time_text(run.info.end_time or run.info.start_time)
            why = why or ("changed since it was in sync" if record else "never in sync")
    is_waiting = sync_state is not None and not sync_state.is_idle
    waits_since = (sync_state.since if sync_state is not None and is_waiting else "") or since
    return RunState(
        run_id=run.info.run_id,
        run_name=run.info.run_name or "",
        counterpart_run_id=run.data.tags.get(run_tags.AZUREML_RUN_ID, ""),
        state=state,
        since=since,
        reason=why,
        link=run.data.tags.get(run_tags.AZUREML_RUN_URL, ""),
        items=sync_state.changes.size if sync_state is not None else 0,
        seconds=seconds_since(waits_since) if state == "out of sync" or is_waiting else 0.0,
        is_rejected=run_tags.REJECTED in run.data.tags,
    )
