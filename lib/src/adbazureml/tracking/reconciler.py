"""Make the mirror of a run equal to it, in all that MLflow tracks, and record that it is.

The primary store is the source of truth: `Mirror.settle` looks at the run and its mirror, writes what the mirror lacks,
looks again, and writes the record on both sides. So it may be called any number of times, from any machine, and be
killed at any moment; a second call changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from adbazureml.tracking import run_tags
from adbazureml.tracking.artifact_sync import copy_files
from adbazureml.tracking.counterpart_run import MirrorLostError
from adbazureml.tracking.snapshot_diff import first_difference, missing_datasets, missing_params, missing_tags, info_differs, name_item
from adbazureml.tracking.counterpart_run import REFUSED_BEFORE, MirroredRun
from adbazureml.tracking.counterpart_lookup import Pairing
from adbazureml.tracking.metric_points import Fingerprints, Tally, pages, points
from adbazureml.tracking.sync_record import PARENT, has_ended, is_in_sync, key_digest, out_of_sync_tags, mirrored_tags, sync_record, taken_tag, users_keys

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

    from adbazureml.tracking.store_pair import Pair

_POINTS = 1000
# Histories that are read at once: they are many and small as a rule, and the way to a workspace is long.
_READERS = 4


@dataclass(frozen=True, kw_only=True)
class Settled:
    """How far a run and its mirror are equal.

    Attributes
    ----------
    run_id, run_name : str
        The run in the primary store.
    mirrored_run_id : str
        Its mirror; empty when there is none yet.
    written : int
        How many params, metric points, tags, dataset inputs and files this call wrote.
    refused : int
        How many of them the secondary refused for good, this time.
    settled : bool
        Whether the two are equal, but for what the secondary refuses.
    reason : str
        Why not, or what is refused.
    """

    run_id: str
    run_name: str = ""
    mirrored_run_id: str = ""
    written: int = 0
    refused: int = 0
    settled: bool = False
    reason: str = ""


class Mirror:
    """Keeps runs of a pair's secondary equal to those of its primary.

    Parameters
    ----------
    pair : Pair
    progress : callable, optional
        Told how many points or files were just written.
    """

    def __init__(self, pair: Pair, *, progress: Callable[[int], None] = lambda _: None) -> None:
        self.pair = pair
        self._progress = progress
        self.pairing = Pairing(pair)

    def mirrored_run(self, run: Run, *, is_new: bool = False) -> tuple[MirroredRun, bool]:
        """The run's mirror, and whether it was made just now, so that it holds nothing."""
        mirrored_run_id, made = self.pairing.find_or_make(run, is_new=is_new)
        mirrored = MirroredRun(self.pair.secondary, mirrored_run_id, run.info.run_id)
        mirrored.holds_files = not made
        if made:
            mirrored.taken = set()
        return mirrored, made

    def settle(
        self,
        run_id: str,
        *,
        mirrored: MirroredRun | None = None,
        is_known: bool = False,
        recheck: bool = False,
        files: bool = True,
        quick: bool = False,
    ) -> Settled:
        """Make the mirror of a run equal to it.

        Parameters
        ----------
        run_id : str
            A run of the primary store.
        mirrored : MirroredRun, optional
            Its mirror, where the caller has it.
        is_known : bool
            Whether the caller made that mirror and wrote all that is in it, so that its histories need not be read.
        recheck : bool
            Whether to compare everything even where the record says that the run is settled.
        files : bool
            Whether to copy artifacts and models as well, and record the run as settled.
        quick : bool
            Whether files need not be read that have the names and sizes which they had when this end of the run was
            recorded as settled. Otherwise a tag that is set on an ended run would cost its artifacts twice.

        Returns
        -------
        Settled
            What was written, and what is refused or failed.

        Raises
        ------
        Exception
            What a store raises when it is away.
        """
        run = self.pair.primary.get_run(run_id)
        lost = ""
        for _ in range(3):
            try:
                if mirrored is None:
                    if run.info.lifecycle_stage == "deleted" and self.pairing.find(run) is None:
                        return Settled(run_id=run_id, settled=True, reason="deleted before it was mirrored")
                    mirrored, is_known = self.mirrored_run(run)
                if lost:
                    self.pairing.replace(run, lost, mirrored.look())
                return self._settle(run, mirrored, is_known=is_known, recheck=recheck, files=files, quick=quick)
            except MirrorLostError:
                if mirrored is not None:
                    lost = mirrored.run_id
                # The link is of no use any more.
                run.data.tags.pop(run_tags.AZUREML_RUN_ID, None)
                mirrored = None
        raise MirrorLostError(f"the mirror of run {run_id} is deleted again and again")

    def _settle(
        self, run: Run, mirrored: MirroredRun, *, is_known: bool, recheck: bool, files: bool, quick: bool
    ) -> Settled:
        look = mirrored.look()
        outcome = {
            "run_id": run.info.run_id,
            "run_name": run.info.run_name or "",
            "mirrored_run_id": mirrored.run_id,
        }
        is_deleted = run.info.lifecycle_stage == "deleted"
        # HTTP clients send a create again whose answer was lost: until the first record, there may be a twin.
        is_first = recheck or run_tags.SETTLED not in look.data.tags
        if is_first and self.pairing.search(run) not in (None, mirrored.run_id):
            raise MirrorLostError(f"run {mirrored.run_id} has a twin")
        if look.info.lifecycle_stage == run.info.lifecycle_stage and (
            is_deleted or (not recheck and is_in_sync(run, look.data.tags.get(run_tags.SETTLED, "")))
        ):
            return Settled(**outcome, settled=True, reason=_explain_rejected(mirrored, run))
        if look.info.lifecycle_stage == "deleted":
            self.pair.secondary.restore_run(mirrored.run_id)
        if recheck:
            mirrored.try_refused_again()
        refused_before = 0 if recheck else len(json.loads(look.data.tags.get(run_tags.REFUSED, "[]")))
        written = self._write_look(run, look, mirrored)
        written += self._write_points(run, look, mirrored, is_known=is_known)
        written += self._write_datasets(run, look, mirrored)
        failures: list[str] = []
        listed = ""
        if files:
            copied, listed = copy_files(self.pair, run, look, mirrored, quick=quick, progress=self._progress)
            mirrored.refused.update(copied.refused)
            written += copied.files
            failures += copied.failures
        self._write_info(run, look, mirrored)
        self._write_parent(run, look, mirrored)
        if written or info_differs(run, look, mirrored):
            look = mirrored.look()
        lacking = first_difference(run, look, mirrored)
        if lacking:
            failures.append(f"{lacking} was written and not found again")
        if is_deleted:
            self.pair.secondary.delete_run(mirrored.run_id)
        elif files and not failures and has_ended(run):
            mirrored.forget_taken(look)
            self._record(run, look, mirrored, listed)
        return Settled(
            **outcome,
            written=written,
            refused=max(len(mirrored.refused) - refused_before, 0),
            settled=not failures,
            reason=failures[0] if failures else _explain_rejected(mirrored, run),
        )

    def _write_look(self, run: Run, look: Run, mirrored: MirroredRun) -> int:
        """Write the params and tags that the mirror lacks, and delete the tags that were deleted; return how many."""
        params, tags = missing_params(run, look, mirrored), missing_tags(run, look, mirrored)
        written = len(params) + len(tags)
        wanted = mirrored_tags(run)
        taken, keep = mirrored.taken or set(), {key_digest(key) for key in users_keys(wanted)}
        # A tag that the mirror never took over from here was set there, by a person who wants to keep it.
        deleted = [key for key in users_keys(look.data.tags) if key_digest(key) in taken and key not in wanted]
        for key in deleted:
            mirrored.delete_tag(key)
        if keep != taken:
            mirrored.taken = keep
            tags.append(taken_tag(keep))
        mirrored.write(params=params, tags=tags)
        return written + len(deleted)

    def _write_points(self, run: Run, look: Run, mirrored: MirroredRun, *, is_known: bool) -> int:
        """Write the metric points that the mirror lacks; return how many."""
        written = 0
        batch: list[Metric] = []
        for metric in self._lacking_points(run, look, mirrored, is_known=is_known):
            batch.append(metric)
            if len(batch) == _POINTS:
                mirrored.write(metrics=batch)
                written += len(batch)
                self._progress(len(batch))
                batch = []
        mirrored.write(metrics=batch)
        return written + len(batch)

    def _lacking_points(self, run: Run, look: Run, mirrored: MirroredRun, *, is_known: bool) -> Iterator[Metric]:
        def read(key: str) -> tuple[Fingerprints, Iterator[list[Metric]]]:
            there = Fingerprints()
            if is_known and key in mirrored.tallies:
                tally = Tally()
                tally.add(points(self.pair.primary, run.info.run_id, key))
                if tally == mirrored.tallies[key]:
                    return there, iter(())
                there = Fingerprints(points(self.pair.secondary, mirrored.run_id, key))
            elif not is_known and key in look.data.metrics:
                there = Fingerprints(points(self.pair.secondary, mirrored.run_id, key))
            return there, _started(pages(self.pair.primary, run.info.run_id, key))

        for there, history in _in_threads(read, list(run.data.metrics)):
            for page in history:
                for metric in there.missing(page):
                    if not mirrored.refuses_point(metric):
                        yield metric

    def _write_datasets(self, run: Run, look: Run, mirrored: MirroredRun) -> int:
        lacking = missing_datasets(run, look, mirrored)
        mirrored.log_datasets(lacking)
        return len(lacking)

    def _write_info(self, run: Run, look: Run, mirrored: MirroredRun) -> None:
        """Give the mirror the run's status, end and name."""
        from mlflow.entities import RunStatus

        if not info_differs(run, look, mirrored):
            return
        update = partial(
            self.pair.secondary.update_run_info,
            mirrored.run_id,
            RunStatus.from_string(run.info.status),
            run.info.end_time,
        )
        item = name_item(run)
        if not mirrored.refuses(item):
            mirrored.attempt(item, partial(update, run.info.run_name))
        if mirrored.refuses(item):
            update(None)

    def _write_parent(self, run: Run, look: Run, mirrored: MirroredRun) -> None:
        """Hang the mirror below its parent's, which is another one where the first was lost or had a twin.

        Whoever replaces the parent's mirror changes the link first and then looks for children. So that none is
        missed, the link is read again after the write.
        """
        from mlflow.entities import RunTag

        written = look.data.tags.get(PARENT)
        while (parent := self.pairing.mirrored_parent(run)) and parent != written:
            mirrored.write(tags=[RunTag(PARENT, parent)])
            written = parent

    def _record(self, run: Run, look: Run, mirrored: MirroredRun, listed: str) -> None:
        """Record on both sides that the run is settled, as it looked when the comparison began.

        A mark that a process set meanwhile stays, so that the run still counts as behind.
        """
        from mlflow.entities import RunTag

        record = sync_record(run, listed=listed)
        tags = {run_tags.SETTLED: record}
        if mirrored.is_refusing:
            tags[run_tags.REFUSED] = mirrored.refused_tag()
        mirrored.write(tags=[RunTag(*item) for item in tags.items()])
        primary = self.pair.primary
        links = {**self.pairing.links(look), run_tags.SETTLED: record}
        if told := _explain_rejected(mirrored, run):
            links[run_tags.REJECTED] = told
        lacking = [RunTag(key, value) for key, value in links.items() if run.data.tags.get(key) != value]
        primary.log_batch(run.info.run_id, [], [], lacking)
        if not mirrored.is_refusing and run_tags.REJECTED in run.data.tags:
            primary.delete_tag(run.info.run_id, run_tags.REJECTED)
        if before := out_of_sync_tags(run):
            after = out_of_sync_tags(primary.get_run(run.info.run_id))
            for key in before:
                # A mark that was set again meanwhile stands for writes that this comparison may not have seen.
                if after.get(key) == before[key]:
                    primary.delete_tag(run.info.run_id, key)


def _explain_rejected(mirrored: MirroredRun, run: Run) -> str:
    """What is refused, and why; as an earlier session told it, where this one has nothing new to tell."""
    if not mirrored.is_refusing:
        return ""
    refused = mirrored.refused
    news = {item: message for item, message in refused.items() if message != REFUSED_BEFORE}
    if not news and (before := run.data.tags.get(run_tags.REJECTED, "")):
        return before
    item, message = next(iter((news or refused or {"some items": REFUSED_BEFORE}).items()))
    if item.startswith(("param ", "tag ", "run name ")):
        # What tells the value is for us alone.
        item = item.rpartition(" ")[0]
    others = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
    return f"refused for good: {item}{others} ({message})"


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
