"""What one run still needs in the replica, and what is being done about it: a value that nothing but calls changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from adbazureml.tracking.pending_changes import PendingChanges

if TYPE_CHECKING:
    from mlflow.entities import Run

    from adbazureml.tracking.counterpart_run import CounterpartRun
    from adbazureml.tracking.reconciler import ReconcileResult


class Work(IntEnum):
    """What a run needs or is undergoing; each does all that those before it do."""

    NOTHING = 0
    #: Changes go out as they are.
    WRITE = 1
    #: Changes were forgotten: the run is compared with its counterpart.
    COMPARE = 2
    #: The run has ended: what waits goes out, then it is compared, files and logged models included.
    RECONCILE = 3


@dataclass
class RunSyncState:
    """A run that this process writes to, and what it knows of the run's counterpart.

    Its state is the pair of ``needs`` and ``doing``, and five events change it; ``max`` is by the order of `Work`:

    ========== ============================= =========================== =======================================
    event      allowed when                  ``needs`` becomes           ``doing`` becomes
    ========== ============================= =========================== =======================================
    `require`  always                        max(``needs``, what is      unchanged
                                             required)
    `forget`   always                        max(``needs``, COMPARE)     unchanged
    `begin`    something is needed, nothing  NOTHING                     what was needed
               is done
    `escalate` WRITE is done                 unchanged                   COMPARE
    `finish`   something is done             unchanged                   NOTHING
    `fail`     something is done             max(``needs``, ``doing``,   NOTHING
                                             COMPARE)
    ========== ============================= =========================== =======================================

    What always holds: changes wait only where WRITE or RECONCILE is needed; one job is under way at a time; what a
    failed job was to do is needed again; nothing that was required while a job ran is lost by its end.

    Attributes
    ----------
    run_id : str
    created : Run or None
        The run as this process created it, until its counterpart is made.
    is_own : bool
        Whether this process created or resumed the run, and did not begin to reconcile it. Nobody takes such a run for
        in sync, so that writes to it need no tag.
    tag_value : str
        When this process tagged the run as out of sync on the primary; empty when it did not.
    counterpart : CounterpartRun or None
    is_known : bool
        Whether this process made the counterpart and wrote all that is in it.
    changes : PendingChanges
        What waits.
    needs, doing : Work
    epoch : int
        Counts the comparisons. Of a write that began before a comparison ended, it is not known whether the comparison
        saw it.
    due : float
        When to write next, as `time.monotonic` counts.
    failures, aways : int
        How often in a row it alone failed, and how often the replica was away when its turn came.
    since : str
        When the first of the changes was made.
    announced : int
        Writes that were announced and are not over.
    keeps_all : bool
        Whether this process created the run, and all that it wrote to it went out or waits here: no write failed,
        perhaps after the primary took it, none went by while nothing was replicated, and nothing was dropped.
    has_models : bool
        Whether this process finished a logged model of the run.
    outcome : ReconcileResult or None
        How the last comparison ended.
    reason : str
        Why the last delivery failed.
    """

    run_id: str
    created: Run | None = None
    is_own: bool = False
    tag_value: str = ""
    counterpart: CounterpartRun | None = None
    is_known: bool = False
    changes: PendingChanges = field(default_factory=PendingChanges)
    needs: Work = Work.NOTHING
    doing: Work = Work.NOTHING
    epoch: int = 0
    due: float = float("inf")
    failures: int = 0
    aways: int = 0
    since: str = ""
    announced: int = 0
    keeps_all: bool = False
    has_models: bool = False
    outcome: ReconcileResult | None = None
    reason: str = ""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to do."""
        return self.needs is self.doing is Work.NOTHING

    @property
    def takes_changes(self) -> bool:
        """Whether changes are kept: what a comparison will find anyway is not."""
        return self.needs is not Work.COMPARE

    @property
    def may_have_been_seen(self) -> bool:
        """Whether a comparison is under way, which may see what is written meanwhile, or may not."""
        return self.doing >= Work.COMPARE

    def require(self, work: Work) -> None:
        """Note that the run needs at least this."""
        self.needs = max(self.needs, work)

    def forget(self) -> None:
        """Drop what waits, and that the run is new: a comparison finds all of it."""
        self.changes, self.created, self.is_known, self.keeps_all = PendingChanges(), None, False, False
        self.require(Work.COMPARE)

    def begin(self) -> tuple[Work, PendingChanges]:
        """Take what is needed, and what waits.

        Raises
        ------
        RuntimeError
            Nothing is needed, or somebody is at it.
        """
        if self.needs is Work.NOTHING or self.doing is not Work.NOTHING:
            raise RuntimeError(f"Run {self.run_id} needs {self.needs.name}; under way is {self.doing.name}.")
        self.doing, self.needs = self.needs, Work.NOTHING
        changes, self.changes = self.changes, PendingChanges()
        changes.is_all = self.keeps_all and not self.announced
        return self.doing, changes

    def escalate(self) -> None:
        """Go on with a comparison where the changes had nowhere to go."""
        self._check_under_way()
        self.doing = max(self.doing, Work.COMPARE)

    def finish(self) -> None:
        """Note that what was begun is done."""
        self._check_under_way()
        self.doing = Work.NOTHING

    def fail(self) -> None:
        """Note that what was begun failed: it is needed again, and by a comparison."""
        self._check_under_way()
        self.require(self.doing)
        self.doing = Work.NOTHING
        self.forget()

    def _check_under_way(self) -> None:
        if self.doing is Work.NOTHING:
            raise RuntimeError(f"Nothing is under way for run {self.run_id}.")
