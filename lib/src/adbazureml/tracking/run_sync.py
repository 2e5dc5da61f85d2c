"""Bring one run's changes to its mirror."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adbazureml.text import logger
from adbazureml.tracking import run_tags
from adbazureml.tracking.pending_changes import PendingChanges
from adbazureml.tracking.counterpart_run import MirrorLostError
from adbazureml.tracking.counterpart_run import MirroredRun
from adbazureml.tracking.reconciler import Mirror, Settled
from adbazureml.tracking.sync_record import has_ended

if TYPE_CHECKING:
    from mlflow.entities import Run

_logger = logger(__name__)


@dataclass
class Writing:
    """A run that this process writes to, and what it knows of the run's mirror.

    Attributes
    ----------
    run_id : str
    created : Run or None
        The run as this process created it, until its mirror is made.
    is_own : bool
        Whether this process created or resumed the run, and did not begin to settle it. Nobody takes such a run for
        settled, so that writes to it need no mark.
    mark : str
        When this process marked the run as behind on the primary; empty when it did not.
    mirrored : MirroredRun or None
    is_known : bool
        Whether this process made the mirror and wrote all that is in it.
    changes : Changes
        What waits.
    is_behind : bool
        Whether changes were forgotten, so that the run is to be compared.
    is_ended : bool
        Whether the run is to be settled.
    is_busy, is_comparing : bool
        Whether a thread is at it, and compares it.
    epoch : int
        Counts the comparisons. Of a write that began before a comparison ended, it is not known whether the comparison
        saw it.
    due : float
        When to write next, as `time.monotonic` counts.
    failures, aways : int
        How often in a row it alone failed, and how often the secondary was away when its turn came.
    since : str
        When the first of the changes was made.
    outcome : Settled or None
        How the last comparison ended.
    reason : str
        Why the last delivery failed.
    """

    run_id: str
    created: Run | None = None
    is_own: bool = False
    mark: str = ""
    mirrored: MirroredRun | None = None
    is_known: bool = False
    changes: PendingChanges = field(default_factory=PendingChanges)
    is_behind: bool = False
    is_ended: bool = False
    is_busy: bool = False
    is_comparing: bool = False
    epoch: int = 0
    due: float = float("inf")
    failures: int = 0
    aways: int = 0
    since: str = ""
    outcome: Settled | None = None
    reason: str = ""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.changes or self.is_behind or self.is_ended or self.is_busy)


class Delivery:
    """Writes changes to mirrors, and compares."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._pair = mirror.pair

    def write(self, writing: Writing, changes: PendingChanges) -> bool:
        """Write changes; tell whether the mirror is still the one they belong to.

        Returns
        -------
        bool
            False when the mirror was lost, so that the run is to be compared.
        """
        try:
            mirrored = self._mirrored_run(writing, changes)
            if mirrored is not None:
                self._write(mirrored, changes)
        except MirrorLostError:
            writing.mirrored, writing.is_known = None, False
            return False
        return True

    def settle(self, writing: Writing, *, files: bool) -> Settled:
        """Compare the run with its mirror and write what lacks."""
        return self._mirror.settle(
            writing.run_id, mirrored=writing.mirrored, is_known=writing.is_known, files=files, quick=True
        )

    def is_left_over(self, writing: Writing) -> bool:
        """Whether a run that another process leads has ended, so that this one is to settle what it wrote late."""
        run = self._pair.primary.get_run(writing.run_id)
        if run_tags.own_out_of_sync_tag() not in run.data.tags:
            writing.mark = ""
        return has_ended(run)

    def experiment_changed(self, experiment_id: str) -> None:
        """Look at the tags of an experiment again when one of its runs is mirrored next."""
        self._mirror.pairing.experiment_changed(experiment_id)

    def mark(self, writing: Writing) -> None:
        """Mark a run as behind on the primary, where that is possible."""
        from mlflow.entities import RunTag

        try:
            self._pair.primary.set_tag(writing.run_id, RunTag(run_tags.own_out_of_sync_tag(), writing.mark))
        except Exception:
            _logger.debug("Run %s could not be marked as behind.", writing.run_id, exc_info=True)

    def _mirrored_run(self, writing: Writing, changes: PendingChanges) -> MirroredRun | None:
        """The run's mirror, made when there is none; None where the run was deleted before it had one."""
        if writing.mirrored is None:
            run = writing.created or self._pair.primary.get_run(writing.run_id)
            if writing.created is None and run.info.lifecycle_stage == "deleted" and not self._mirror.pairing.find(run):
                return None
            is_new = writing.created is not None
            writing.mirrored, writing.is_known = self._mirror.mirrored_run(run, is_new=is_new)
            writing.created = None
            if writing.is_known:
                # These are in it from the start.
                for key, value in run.data.tags.items():
                    if key.startswith("mlflow.") and changes.tags.get(key) == value:
                        del changes.tags[key]
        return writing.mirrored

    def _write(self, mirrored: MirroredRun, changes: PendingChanges) -> None:
        from mlflow.entities import Param, RunStatus, RunTag

        store = self._pair.secondary
        if changes.lifecycle == "active":
            store.restore_run(mirrored.run_id)
        tags = {run_tags.azureml_tag_key(key): value for key, value in changes.tags.items()}
        mirrored.write(
            metrics=changes.metrics + mirrored.missing_points(changes.unsure),
            params=[Param(*item) for item in changes.params.items()],
            tags=[
                RunTag(run_tags.azureml_tag_key(key), value) for key, value in changes.tags.items() if value is not None
            ],
        )
        for key in (key for key, value in tags.items() if value is None):
            mirrored.delete_tag(key)
        mirrored.log_datasets(changes.datasets)
        if (info := changes.info) is not None:
            status = RunStatus.from_string(info.status)
            store.update_run_info(mirrored.run_id, status, info.end_time, info.run_name)
        if changes.lifecycle == "deleted":
            store.delete_run(mirrored.run_id)
