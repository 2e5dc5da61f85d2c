"""Make runs equal in both workspaces again: after an outage, a killed process, or a change to an ended run."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from adbazureml.azureml_mlflow.mlflow_errors import explain_error
from adbazureml.errors import TrackingError
from adbazureml.tracking import run_tags
from adbazureml.tracking.abandoned_runs import is_under_way
from adbazureml.tracking.artifact_sync import PrimaryFiles, logged_models
from adbazureml.tracking.outbox import flush_all, outbox_of
from adbazureml.tracking.progress_bar import Progress
from adbazureml.tracking.reconciler import Reconciler, ReconcileResult
from adbazureml.tracking.store_pair import StorePair, current_pair
from adbazureml.tracking.sync_record import is_in_sync, listed_before

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import LoggedModel, Run

# Runs that are reconciled at once; a few more are read ahead.
_AT_ONCE = 4
_PAGE = 500
# Seconds that this process's own work is waited for first.
_FLUSH = 60.0
# So many runs in a row that end in an error mean that a workspace is away.
_ERRORS_IN_A_ROW = 3


@dataclass(frozen=True, repr=False)
class CatchUp:
    """What `catch_up` found and did, a `ReconcileResult` for each run."""

    runs: tuple[ReconcileResult, ...]

    @property
    def out_of_sync(self) -> tuple[ReconcileResult, ...]:
        """The runs that are still not equal."""
        return tuple(run for run in self.runs if not run.in_sync)

    def check(self) -> None:
        """Do nothing where all runs are equal.

        Raises
        ------
        TrackingError
            Names the runs that are not, each with the reason.
        """
        if self.out_of_sync:
            rows = "\n  ".join(f"{run.run_id} {run.run_name}: {run.reason}" for run in self.out_of_sync)
            raise TrackingError(
                f"{len(self.out_of_sync)} of {len(self.runs)} runs are not equal in both workspaces:\n  {rows}"
            )

    def to_pandas(self) -> pd.DataFrame:
        """One row a run."""
        import pandas as pd

        return pd.DataFrame([asdict(run) for run in self.runs])

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        table = self._told().to_pandas()
        return self._head() if table.empty else f"{self._head()}\n{table.to_string(index=False)}"

    def _repr_html_(self) -> str:
        table = self._told().to_pandas()
        return f"<p>{self._head()}</p>{'' if table.empty else table.to_html(index=False)}"

    def _head(self) -> str:
        if not self.runs:
            return _NOTHING
        equal, written = len(self.runs) - len(self.out_of_sync), sum(run.written for run in self.runs)
        return f"{equal} of {len(self.runs)} runs are equal in both workspaces; {written} items were written."

    def _told(self) -> CatchUp:
        """The runs of which there is more to tell than that they are equal."""
        return CatchUp(tuple(run for run in self.runs if run.written or not run.in_sync or run.reason))


_NOTHING = "No runs: runs are tracked in one workspace, or there are none."


def catch_up(
    *,
    experiment: str | None = None,
    run_ids: Sequence[str] | None = None,
    since: datetime | str | None = None,
    verify: bool = False,
) -> CatchUp:
    """Make runs of the Databricks workspace equal in the Azure ML workspace; safe to call again, from any machine.

    Runs older than this package are brought over as well. Memory does not grow with a run: histories are read in pages,
    artifacts copied a few at a time. What is returned tells the outcome once it is shown or printed.

    Parameters
    ----------
    experiment : str, optional
        Name of an experiment, all of whose runs are meant.
    run_ids : sequence of str, optional
        Ids of single runs. Otherwise a run that a process of this machine is still at is left to that process.
    since : datetime or str, optional
        The runs of all experiments that started or ended since then; a str as in ISO 8601, UTC unless it tells.
    verify : bool
        Compare everything, also of runs that are recorded as in sync, and the contents of all files; and try again what
        Azure ML rejected. Otherwise a run that is in sync is compared where a snapshot of it shows a change or a
        process with this package wrote to it, and its files where their names and sizes changed, whoever wrote them. So
        a file that was overwritten after the run's end with one of the same size is found by this alone.

    Returns
    -------
    CatchUp
        One row a run: its counterpart, what was written, and what is still out of sync and why. Empty when runs are
        tracked in one workspace only.

    Raises
    ------
    TrackingError
        Not exactly one of the three is given, ``since`` is no time, or there is no such experiment.
    """
    if sum(argument is not None for argument in (experiment, run_ids, since)) != 1:
        raise TrackingError("catch_up takes one of experiment=, run_ids= and since=.")
    pair = current_pair()
    if pair is None:
        return CatchUp(())
    # What this process still has to write, it writes itself.
    flush_all(_FLUSH, insist=False)
    progress = Progress(None if run_ids is None else len(run_ids))
    reconciler = Reconciler(pair, progress=progress.wrote)
    if run_ids is not None:
        wanted: Iterator[_Wanted] = (_Wanted(run_id=run_id) for run_id in run_ids)
    elif experiment is not None:
        wanted = _runs_of_experiment(reconciler, experiment)
    else:
        wanted = (_wanted(run) for run in _runs_since(pair, _milliseconds(since)))
    try:
        outcome = CatchUp(tuple(_reconcile_all(reconciler, wanted, progress, verify=verify)))
    finally:
        progress.close()
    return outcome


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A run that is to be equal; where it is in sync as far as two lists tell, also itself, its record and its models.

    The lists tell nothing of its files. A run that is under way is left to its process.
    """

    run_id: str
    under_way: Run | None = None
    in_sync: Run | None = None
    record: str = ""
    models: Sequence[LoggedModel] = ()


def _reconcile_all(
    reconciler: Reconciler, wanted: Iterator[_Wanted], progress: Progress, *, verify: bool
) -> Iterator[ReconcileResult]:
    """Reconcile runs, a few at once, in their order."""
    errors = 0

    def reconcile(one: _Wanted) -> ReconcileResult:
        nonlocal errors
        if errors >= _ERRORS_IN_A_ROW:
            return ReconcileResult(
                run_id=one.run_id, reason="not tried: the runs before failed, so a workspace seems to be away"
            )
        if one.under_way is not None:
            return _already(one.under_way, "running: its own process brings it over")
        try:
            if one.in_sync is not None and not verify and _has_its_files(reconciler.pair, one.in_sync, one):
                return _already(one.in_sync)
            outcome = reconciler.reconcile(one.run_id, verify=verify)
        except Exception as error:
            errors += 1
            return ReconcileResult(run_id=one.run_id, reason=explain_error(error))
        errors = 0
        if outcome.in_sync:
            outbox_of(reconciler.pair).reconciled_elsewhere(one.run_id)
        return outcome

    under_way: deque[Future[ReconcileResult]] = deque()
    with ThreadPoolExecutor(_AT_ONCE, "adbazureml-catch-up") as pool:
        for one in wanted:
            under_way.append(pool.submit(reconcile, one))
            while under_way and (under_way[0].done() or len(under_way) > 2 * _AT_ONCE):
                yield under_way.popleft().result()
                progress.run()
        for future in under_way:
            yield future.result()
            progress.run()


def _has_its_files(pair: StorePair, run: Run, wanted: _Wanted) -> bool:
    """Whether the files of a run are those that it had when it was recorded as in sync; costs the replica nothing."""
    return PrimaryFiles.of(pair, run, wanted.models).digest == listed_before(wanted.record)


def _already(run: Run, reason: str = "") -> ReconcileResult:
    return ReconcileResult(
        run_id=run.info.run_id,
        run_name=run.info.run_name or "",
        counterpart_run_id=run.data.tags.get(run_tags.AZUREML_RUN_ID, ""),
        in_sync=True,
        reason=reason,
    )


def _runs_of_experiment(reconciler: Reconciler, name: str) -> Iterator[_Wanted]:
    """The runs of an experiment; two lists, and one of its logged models, tell much of all that are in sync."""
    primary = reconciler.pair.primary
    found = primary.get_experiment_by_name(name)
    if found is None:
        raise TrackingError(f"experiment {name!r}: there is none of that name in Databricks.")
    try:
        records = _records(reconciler, found.experiment_id)
    except Exception:
        # The runs will tell what is wrong, each in its row.
        records = {}
    models: dict[str, list[LoggedModel]] = defaultdict(list)
    if records:
        for model in logged_models(primary, found.experiment_id):
            models[model.source_run_id or ""].append(model)
    for run in _pages(primary, [found.experiment_id], ""):
        run_id = run.info.run_id
        record = records.get(run.data.tags.get(run_tags.AZUREML_RUN_ID, ""), "")
        if run.info.lifecycle_stage == "active" and is_in_sync(run, record):
            yield _Wanted(run_id=run_id, in_sync=run, record=record, models=models[run_id])
        else:
            yield _wanted(run)


def _wanted(run: Run) -> _Wanted:
    return _Wanted(run_id=run.info.run_id, under_way=run if is_under_way(run) else None)


def _records(reconciler: Reconciler, experiment_id: str) -> dict[str, str]:
    """The records on the counterparts of an experiment's runs, by the counterparts' ids."""
    counterpart = reconciler.lookup.counterpart_experiment(experiment_id, make=False)
    if counterpart is None:
        return {}
    return {
        run.info.run_id: run.data.tags[run_tags.IN_SYNC]
        for run in _pages(reconciler.pair.replica, [counterpart], "")
        if run.info.lifecycle_stage == "active" and run_tags.IN_SYNC in run.data.tags
    }


def _runs_since(pair: StorePair, milliseconds: int) -> Iterator[Run]:
    primary, token = pair.primary, None
    while True:
        page = primary.search_experiments(page_token=token)
        for experiment in page:
            seen = set()
            for attribute in ("start_time", "end_time"):
                for run in _pages(primary, [experiment.experiment_id], f"attributes.{attribute} >= {milliseconds}"):
                    if run.info.run_id not in seen:
                        seen.add(run.info.run_id)
                        yield run
        token = page.token
        if not token:
            return


def _pages(store: Any, experiment_ids: list[str], wanted: str) -> Iterator[Run]:
    from mlflow.entities import ViewType

    token = None
    while True:
        page = store.search_runs(experiment_ids, wanted, ViewType.ALL, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _milliseconds(since: datetime | str | None) -> int:
    try:
        moment = since if isinstance(since, datetime) else datetime.fromisoformat(str(since).replace("Z", "+00:00"))
    except ValueError as error:
        raise TrackingError(f"since {since!r}: expected a datetime, or a text such as '2026-11-23T18:00'.") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return int(moment.timestamp() * 1000)
