"""Make the counterpart of a run equal to it, in all that MLflow tracks, and record that it is.

The primary store is the source of truth: `Reconciler.reconcile` looks at the run and its counterpart, writes what the
counterpart lacks, looks again, and writes the record on both sides. So it may be called any number of times, from any
machine, and be killed at any moment; a second call changes nothing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from adbazureml.azureml_mlflow.mlflow_errors import is_rejection
from adbazureml.tracking import run_tags
from adbazureml.tracking.artifact_copy import Copied
from adbazureml.tracking.artifact_sync import PrimaryFiles, copy_files
from adbazureml.tracking.counterpart_lookup import CounterpartLookup
from adbazureml.tracking.counterpart_run import REJECTED_BEFORE, CounterpartLostError, CounterpartRun
from adbazureml.tracking.metric_points import Fingerprints, Tally, pages, points
from adbazureml.tracking.run_description import linked_description
from adbazureml.tracking.snapshot_diff import (
    first_difference,
    info_differs,
    missing_datasets,
    missing_params,
    missing_tags,
    name_item,
)
from adbazureml.tracking.sync_record import (
    PARENT,
    counterpart_tags,
    has_ended,
    is_in_sync,
    key_digest,
    listed_before,
    ousted_tags,
    out_of_sync_tags,
    sync_record,
    taken_tag,
    users_keys,
)

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

    from adbazureml.tracking.store_pair import StorePair

_POINTS = 1000
# So often a run is looked at, where others change its counterpart at the same time.
_TRIES = 3
# Histories that are read at once: they are many and small as a rule, and the way to a workspace is long.
_READERS = 4


@dataclass(frozen=True, kw_only=True)
class ReconcileResult:
    """How far a run and its counterpart are equal.

    Attributes
    ----------
    run_id, run_name : str
        The run in the primary store.
    counterpart_run_id : str
        Its counterpart; empty when there is none yet.
    written : int
        How many params, metric points, tags, dataset inputs and files this call wrote.
    rejected : int
        How many of them the replica rejected for good, this time.
    in_sync : bool
        Whether the two are equal, but for what the replica rejects.
    reason : str
        Why not, or what is rejected.
    """

    run_id: str
    run_name: str = ""
    counterpart_run_id: str = ""
    written: int = 0
    rejected: int = 0
    in_sync: bool = False
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What the process that created a run knows of it, which heard of all that it wrote to it itself.

    Attributes
    ----------
    points : sequence of Metric
        What a counterpart that is made now lacks; none where the process wrote to the counterpart before.
    has_models : bool
        Whether it finished a logged model of the run.
    """

    points: Sequence[Metric]
    has_models: bool


class Reconciler:
    """Keeps runs of a pair's replica equal to those of its primary.

    Parameters
    ----------
    pair : StorePair
    progress : callable, optional
        Told how many points or files were just written.
    """

    def __init__(self, pair: StorePair, *, progress: Callable[[int], None] = lambda _: None) -> None:
        self.pair = pair
        self._progress = progress
        self.lookup = CounterpartLookup(pair)

    def counterpart_run(
        self, run: Run, *, is_new: bool = False, link: bool = False
    ) -> tuple[CounterpartRun, Run | None]:
        """The run's counterpart; where it was made just now, so that it holds nothing, also as it was made."""
        counterpart_run_id, made = self.lookup.find_or_make(run, is_new=is_new, link=link)
        counterpart = CounterpartRun(self.pair.replica, counterpart_run_id, run.info.run_id)
        counterpart.holds_files = made is None
        if made is not None:
            counterpart.taken = set()
        return counterpart, made

    def reconcile(
        self,
        run_id: str,
        *,
        counterpart: CounterpartRun | None = None,
        is_known: bool = False,
        is_new: bool = False,
        heard: Heard | None = None,
        verify: bool = False,
        files: bool = True,
    ) -> ReconcileResult:
        """Make the counterpart of a run equal to it.

        Parameters
        ----------
        run_id : str
            A run of the primary store.
        counterpart : CounterpartRun, optional
            Its counterpart, where the caller has it.
        is_known : bool
            Whether the caller made that counterpart and wrote all that is in it, so that its histories need not be
            read.
        is_new : bool
            Whether the caller made the run, and knows of no counterpart.
        heard : Heard, optional
            What the caller knows of a run that it created. As long as no other process tagged the run as out of sync,
            and what the run shows agrees, it spares the requests that would tell.
        verify : bool
            Whether to compare everything, the contents of files too, even where the record says that the run is in
            sync. Otherwise files are read only where their names and sizes, or the run's end, are not those of the
            record.
        files : bool
            Whether to copy artifacts and models as well, and record the run as in sync.

        Returns
        -------
        ReconcileResult
            What was written, and what is rejected or failed.

        Raises
        ------
        Exception
            What a store raises when it is away.
        """
        run = self.pair.primary.get_run(run_id)
        lost, made = "", None
        for left in range(_TRIES - 1, -1, -1):
            try:
                if counterpart is None:
                    if run.info.lifecycle_stage == "deleted" and self.lookup.find(run) is None:
                        return ReconcileResult(run_id=run_id, in_sync=True, reason="deleted before it was replicated")
                    counterpart, made = self.counterpart_run(run, is_new=is_new)
                    is_known = made is not None
                if lost:
                    self.lookup.replace(run, lost, made or counterpart.snapshot())
                return self._reconcile(
                    run, counterpart, made=made, is_known=is_known, heard=heard, verify=verify, files=files
                )
            except CounterpartLostError:
                if counterpart is not None:
                    lost = counterpart.run_id
                # The link is of no use any more.
                run.data.tags.pop(run_tags.AZUREML_RUN_ID, None)
                counterpart, made, heard = None, None, None
            except Exception as error:
                # What a store rejects for good is noted, and does not come here. But two who bring over the same run
                # may write the same row at once, or one deletes the duplicate that the other writes to.
                if not left or not is_rejection(error):
                    raise
                counterpart, made, heard = None, None, None
        raise CounterpartLostError(f"the counterpart of run {run_id} is deleted again and again")

    def _reconcile(
        self,
        run: Run,
        counterpart: CounterpartRun,
        *,
        made: Run | None,
        is_known: bool,
        heard: Heard | None,
        verify: bool,
        files: bool,
    ) -> ReconcileResult:
        snapshot = made or self._look(run, counterpart, verify=verify)
        outcome: dict[str, Any] = {
            "run_id": run.info.run_id,
            "run_name": run.info.run_name or "",
            "counterpart_run_id": counterpart.run_id,
        }
        is_deleted = run.info.lifecycle_stage == "deleted"
        is_same_stage = snapshot.info.lifecycle_stage == run.info.lifecycle_stage
        if is_same_stage and is_deleted:
            return ReconcileResult(**outcome, in_sync=True, reason=_explain_rejected(counterpart, run))
        is_recorded = is_in_sync(run, snapshot.data.tags.get(run_tags.IN_SYNC, ""))
        # Another process may have written what it still had waiting over something newer since the record.
        if is_same_stage and not verify and is_recorded and not first_difference(run, snapshot, counterpart):
            return self._bring_late_files(run, snapshot, counterpart, outcome, files=files)
        if snapshot.info.lifecycle_stage == "deleted":
            self.pair.replica.restore_run(counterpart.run_id)
        rejected_before = len(json.loads(snapshot.data.tags.get(run_tags.REJECTED_ITEMS, "[]")))
        if verify:
            counterpart.retry_rejected()
            rejected_before = 0
        written, failures, record = self._write_all(
            run, snapshot, counterpart, is_known=is_known, heard=heard, verify=verify, files=files
        )
        if written or made or info_differs(run, snapshot, counterpart):
            # One that was there has been looked at for a duplicate.
            snapshot = self._look(run, counterpart, verify=False) if made else counterpart.snapshot()
        missing = first_difference(run, snapshot, counterpart)
        if missing:
            failures.append(f"{missing} was written and not found again")
        if is_deleted:
            self.pair.replica.delete_run(counterpart.run_id)
        elif record and not failures:
            counterpart.forget_taken(snapshot)
            self._record(run, snapshot, counterpart, record)
        elif made:
            self.lookup.link(run, made)
        return ReconcileResult(
            **outcome,
            written=written,
            rejected=max(len(counterpart.rejected) - rejected_before, 0),
            in_sync=not failures,
            reason=failures[0] if failures else _explain_rejected(counterpart, run),
        )

    def _write_all(
        self,
        run: Run,
        snapshot: Run,
        counterpart: CounterpartRun,
        *,
        is_known: bool,
        heard: Heard | None,
        verify: bool,
        files: bool,
    ) -> tuple[int, list[str], str]:
        """Write all that the counterpart lacks.

        Returns
        -------
        int
            How many items were written.
        list of str
            What failed, for now.
        str
            The record for a run that is in sync then; empty where none is due.
        """
        if not is_known or out_of_sync_tags(run):
            heard = None
        primary = self._list_files(run, heard) if files else None
        is_due = files and has_ended(run) and run.info.lifecycle_stage == "active"
        record = ""
        if is_due and primary is not None and primary.is_empty:
            # It counts once the run in the primary has the same: where no file is left to copy, it goes out at once.
            record = sync_record(run, listed=primary.digest)
        written = self._write_data(run, snapshot, counterpart, is_known=is_known, heard=heard, record=record)
        written += self._write_datasets(run, snapshot, counterpart)
        failures: list[str] = []
        if files:
            primary = primary or PrimaryFiles.of(self.pair, run)
            copied = copy_files(self.pair, primary, run, snapshot, counterpart, verify=verify, progress=self._progress)
            counterpart.rejected.update(copied.rejected)
            written += copied.files
            failures += copied.failures
            if is_due and not record:
                record = sync_record(run, listed=primary.digest)
        self._write_info(run, snapshot, counterpart)
        self._write_parent(run, snapshot, counterpart)
        return written, failures, record

    def _look(self, run: Run, counterpart: CounterpartRun, *, verify: bool) -> Run:
        """Read the counterpart, and see whether it has a duplicate.

        HTTP clients send a create again whose answer was lost: until both sides have the first record, there may be a
        duplicate. What a search shows of a run may be late, so that it counts only where nothing lacks.

        Raises
        ------
        CounterpartLostError
            It is none any more, or gives way to a duplicate.
        """
        record = run.data.tags.get(run_tags.IN_SYNC)
        snapshot = counterpart.snapshot() if record and not verify else None
        if snapshot is not None and snapshot.data.tags.get(run_tags.IN_SYNC) == record:
            return snapshot
        found = self.lookup.search(run)
        if found is not None:
            if found.info.run_id != counterpart.run_id:
                raise CounterpartLostError(f"run {counterpart.run_id} has a duplicate")
            if not first_difference(run, counterpart.saw(found), counterpart):
                return found
        return snapshot or counterpart.snapshot()

    def _list_files(self, run: Run, heard: Heard | None) -> PrimaryFiles | None:
        """The files of the run; None where they cannot be listed, which shall not keep back its params and points."""
        has_no_models = heard is not None and not heard.has_models and not (run.outputs and run.outputs.model_outputs)
        try:
            return PrimaryFiles.of(self.pair, run, () if has_no_models else None)
        except Exception:
            return None

    def _bring_late_files(
        self, run: Run, snapshot: Run, counterpart: CounterpartRun, outcome: dict[str, Any], *, files: bool
    ) -> ReconcileResult:
        """Copy what came to the artifacts and models of a run after it was in sync, and record it."""
        copied = Copied()
        if files:
            primary = PrimaryFiles.of(self.pair, run)
            copied = copy_files(self.pair, primary, run, snapshot, counterpart, verify=False, progress=self._progress)
            counterpart.rejected.update(copied.rejected)
            if not copied.failures and primary.digest != listed_before(snapshot.data.tags[run_tags.IN_SYNC]):
                self._record(run, snapshot, counterpart, sync_record(run, listed=primary.digest))
        return ReconcileResult(
            **outcome,
            written=copied.files,
            rejected=len(copied.rejected),
            in_sync=not copied.failures,
            reason=copied.failures[0] if copied.failures else _explain_rejected(counterpart, run),
        )

    def _write_data(
        self,
        run: Run,
        snapshot: Run,
        counterpart: CounterpartRun,
        *,
        is_known: bool,
        heard: Heard | None,
        record: str,
    ) -> int:
        """Write the params, tags and points that the counterpart lacks, delete tags that were deleted; return how many.

        The first points go out with the params and tags, and with the record where one is given.
        """
        from mlflow.entities import RunTag

        params, tags = missing_params(run, snapshot, counterpart), missing_tags(run, snapshot, counterpart)
        written = len(params) + len(tags)
        for key, azureml_key in ousted_tags(run).items():
            said = f"another tag of the run has the key {azureml_key} in Azure ML, which takes no ':'"
            counterpart.rejected[counterpart.pair_name("tag", key, run.data.tags[key])] = said
        wanted = counterpart_tags(run)
        taken, keep = counterpart.taken or set(), {key_digest(key) for key in users_keys(wanted)}
        # A tag that the counterpart never took over from here was set there, by a person who wants to keep it.
        deleted = [key for key in users_keys(snapshot.data.tags) if key_digest(key) in taken and key not in wanted]
        for key in deleted:
            counterpart.delete_tag(key)
        if keep != taken:
            counterpart.taken = keep
            tags.append(taken_tag(keep))
        if record:
            there = snapshot.data.tags | {tag.key: tag.value for tag in tags}
            now = {run_tags.IN_SYNC: record} | self._description(run, there)
            tags = [*(tag for tag in tags if tag.key not in now), *(RunTag(*item) for item in now.items())]
        batch: list[Metric] = []
        for metric in self._missing_points(run, snapshot, counterpart, is_known=is_known, heard=heard):
            batch.append(metric)
            if len(batch) == _POINTS:
                counterpart.write(metrics=batch, params=params, tags=tags)
                written += len(batch)
                self._progress(len(batch))
                batch, params, tags = [], [], []
        counterpart.write(metrics=batch, params=params, tags=tags)
        return written + len(deleted) + len(batch)

    def _missing_points(
        self, run: Run, snapshot: Run, counterpart: CounterpartRun, *, is_known: bool, heard: Heard | None
    ) -> Iterator[Metric]:
        heard_points = _heard_points(run, counterpart, heard)

        def read(key: str) -> tuple[Fingerprints, Iterator[list[Metric]]]:
            there = Fingerprints()
            if is_known and key in counterpart.tallies:
                tally = Tally()
                tally.add(points(self.pair.primary, run.info.run_id, key))
                if tally == counterpart.tallies[key]:
                    return there, iter(())
                there = Fingerprints(points(self.pair.replica, counterpart.run_id, key))
            elif not is_known and key in snapshot.data.metrics:
                there = Fingerprints(points(self.pair.replica, counterpart.run_id, key))
            return there, _started(pages(self.pair.primary, run.info.run_id, key))

        for some in heard_points.values():
            yield from _taken(Fingerprints().missing(some), counterpart)
        unheard = [key for key in run.data.metrics if key not in heard_points]
        for there, history in _in_threads(read, unheard):
            for page in history:
                yield from _taken(there.missing(page), counterpart)

    def _write_datasets(self, run: Run, snapshot: Run, counterpart: CounterpartRun) -> int:
        missing = missing_datasets(run, snapshot, counterpart)
        counterpart.log_datasets(missing)
        return len(missing)

    def _write_info(self, run: Run, snapshot: Run, counterpart: CounterpartRun) -> None:
        """Give the counterpart the run's status, end and name."""
        from mlflow.entities import RunStatus

        if not info_differs(run, snapshot, counterpart):
            return
        update = partial(
            self.pair.replica.update_run_info,
            counterpart.run_id,
            RunStatus.from_string(run.info.status),
            run.info.end_time,
        )
        item = name_item(run)
        if not counterpart.rejects(item):
            counterpart.attempt(item, partial(update, run.info.run_name))
        if counterpart.rejects(item):
            update(None)

    def _write_parent(self, run: Run, snapshot: Run, counterpart: CounterpartRun) -> None:
        """Hang the counterpart below its parent's, which is another one where the first was lost or had a duplicate.

        Whoever replaces the parent's counterpart changes the link first and then looks for children. So that none is
        missed, the link is read again after the write.
        """
        from mlflow.entities import RunTag

        written = snapshot.data.tags.get(PARENT)
        while (parent := self.lookup.counterpart_parent(run)) and parent != written:
            counterpart.write(tags=[RunTag(PARENT, parent)])
            written = parent

    def _description(self, run: Run, tags: Mapping[str, str]) -> dict[str, str]:
        """The tag of a counterpart with these tags that leads back to the run."""
        return linked_description(tags, "Databricks", self.pair.primary_url(run))

    def _record(self, run: Run, snapshot: Run, counterpart: CounterpartRun, record: str) -> None:
        """Record on both sides that the run is in sync, as it looked when the comparison began.

        A tag that a process set meanwhile stays, so that the run still counts as out of sync.
        """
        from mlflow.entities import RunTag

        tags = {run_tags.IN_SYNC: record} | self._description(run, snapshot.data.tags)
        if counterpart.is_rejecting:
            tags[run_tags.REJECTED_ITEMS] = counterpart.rejected_tag()
        there = snapshot.data.tags
        counterpart.write(tags=[RunTag(key, value) for key, value in tags.items() if there.get(key) != value])
        primary = self.pair.primary
        links = {**self.lookup.links(snapshot), run_tags.IN_SYNC: record}
        page = self.pair.replica_url(snapshot)
        if linked_description(run.data.tags, "Azure ML", page):
            # Whoever described the run while its files were copied shall not lose that.
            links |= linked_description(primary.get_run(run.info.run_id).data.tags, "Azure ML", page)
        if told := _explain_rejected(counterpart, run):
            links[run_tags.REJECTED] = told
        missing = [RunTag(key, value) for key, value in links.items() if run.data.tags.get(key) != value]
        primary.log_batch(run.info.run_id, [], [], missing)
        if not counterpart.is_rejecting and run_tags.REJECTED in run.data.tags:
            primary.delete_tag(run.info.run_id, run_tags.REJECTED)
        if before := out_of_sync_tags(run):
            after = out_of_sync_tags(primary.get_run(run.info.run_id))
            for key in before:
                # A tag that was set again meanwhile stands for writes that this comparison may not have seen.
                if after.get(key) == before[key]:
                    primary.delete_tag(run.info.run_id, key)


def _heard_points(run: Run, counterpart: CounterpartRun, heard: Heard | None) -> dict[str, list[Metric]]:
    """The points that the counterpart lacks, by metric, of the metrics whose points the caller has all heard of.

    Those show the value of its own last point: whoever else logs to one of them is known to tag the run, or is none of
    this package.
    """
    if heard is None:
        return {}
    lacking = defaultdict(list)
    for metric in heard.points:
        lacking[metric.key].append(metric)
    found = {}
    for key, value in run.data.metrics.items():
        tally = replace(counterpart.tallies.get(key, Tally()))
        tally.add(lacking[key])
        if tally.ends_with(value):
            found[key] = lacking[key]
    return found


def _taken(metrics: Iterable[Metric], counterpart: CounterpartRun) -> Iterator[Metric]:
    """Those of the points that the counterpart is not known to reject."""
    return (metric for metric in metrics if not counterpart.rejects_point(metric))


def _explain_rejected(counterpart: CounterpartRun, run: Run) -> str:
    """What is rejected, and why; as an earlier session told it, where this one has nothing new to tell."""
    if not counterpart.is_rejecting:
        return ""
    rejected = counterpart.rejected
    news = {item: message for item, message in rejected.items() if message != REJECTED_BEFORE}
    if not news and (before := run.data.tags.get(run_tags.REJECTED, "")):
        return str(before)
    item, message = next(iter((news or rejected or {"some items": REJECTED_BEFORE}).items()))
    if item.startswith(("param ", "tag ", "run name ")):
        # What tells the value is for us alone.
        item = item.rpartition(" ")[0]
    others = f" and {len(rejected) - 1} more" if len(rejected) > 1 else ""
    return f"rejected for good: {item}{others} ({message})"


def _started(history: Iterator[list[Metric]]) -> Iterator[list[Metric]]:
    """The same pages, with the first one read already."""
    first = next(history, None)

    def rest() -> Iterator[list[Metric]]:
        if first is not None:
            yield first
        yield from history

    return rest()


def _in_threads(read: Any, keys: Sequence[str]) -> Iterator[Any]:
    """Call a function for each key, a few at a time in threads."""
    if len(keys) < 2:
        yield from map(read, keys)
        return
    with ThreadPoolExecutor(_READERS, "adbazureml-read") as readers:
        for start in range(0, len(keys), _READERS):
            some = keys[start : start + _READERS]
            try:
                reading = [readers.submit(read, key) for key in some]
            except RuntimeError:
                # Python starts no threads any more while it exits.
                yield from map(read, some)
            else:
                for future in reading:
                    yield future.result()
