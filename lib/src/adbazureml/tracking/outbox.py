"""Bring what was written to the primary to the secondary, behind the writer's back.

MLflow's own asynchronous queue does not serve here: it knows no bound, waits at exit for as long as the service hangs,
is buffered by a setting that the user may want otherwise, and does not survive a fork. This outbox never blocks a
writer and may forget at any time: the primary has everything. What it forgot, for want of room or because the secondary
failed, makes the run *behind*, and a run that is behind is compared with the primary instead.

Two kinds of daemon threads work: one writes batches, so that a point is seen in the secondary a few seconds after it
was logged; the others settle runs that ended, which may take as long as an upload.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from adbazureml.text import logger
from adbazureml.tracking import names
from adbazureml.tracking.changes import Changes
from adbazureml.tracking.delivery import Delivery, Writing
from adbazureml.tracking.failures import reason
from adbazureml.tracking.settling import Mirror, Settled
from adbazureml.tracking.visible import PARENT, mirrored_tags, now

if TYPE_CHECKING:
    from mlflow.entities import Run

    from adbazureml.tracking.pair import Pair

_logger = logger(__name__)

# Seconds between a write and its batch: with the request itself, a point is seen well within ten.
INTERVAL = 5.0
# Things that wait, over all runs: about 60 MB.
CAPACITY = 100_000
# Seconds that the end of the interpreter waits for the secondary.
EXIT_DEADLINE = 10.0
# A batch that fills a request is due at once.
_FULL = 1000
_SETTLERS = 2
_LONGEST_PAUSE = 60.0
_NEVER = float("inf")

Ticket = tuple[Writing, int]


class Outbox:
    """The write-behind queue of a pair."""

    def __init__(self, pair: Pair) -> None:
        self._delivery = Delivery(Mirror(pair))
        self._runs: dict[str, Writing] = {}
        self._waiting = 0
        self._changed = threading.Condition()
        self._failures = 0
        self._paused_until = 0.0
        self._leave_at = _NEVER
        self._is_started = False
        self._process_id = os.getpid()

    def begin(self, run_id: str, *, hidden: bool, mark: Callable[[str, str], None]) -> Ticket:
        """Announce a write to a run, before it is done.

        Parameters
        ----------
        run_id : str
            A run of the primary.
        hidden : bool
            Whether a look at the run may not show the write afterwards, as a point in the midst of a history.
        mark : callable
            Sets a tag of the run on the primary: should this process die, the mark tells that the run is behind.

        Returns
        -------
        Ticket
            For `add`.
        """
        with self._changed:
            writing = self._runs.get(run_id)
            if writing is None:
                writing = self._runs[run_id] = Writing(run_id)
            must_mark = hidden and not writing.is_own and not writing.mark
            if must_mark:
                writing.mark = now()
            ticket = writing, writing.epoch
        if must_mark:
            mark(names.own_mark(), writing.mark)
        return ticket

    def add(self, ticket: Ticket, change: Callable[[Changes, bool], None]) -> None:
        """Put what was written into the outbox.

        Parameters
        ----------
        ticket : Ticket
            What `begin` returned.
        change : callable
            Puts it into `Changes`; its second argument tells whether the secondary may have it already.
        """
        announced, epoch = ticket
        with self._changed:
            # The run may have been settled since, and written to again.
            writing = self._runs.setdefault(announced.run_id, announced)
            writing.since = writing.since or now()
            if not writing.is_behind:
                before = writing.changes.size
                change(writing.changes, writing.is_comparing or announced is not writing or epoch != writing.epoch)
                self._waiting += writing.changes.size - before
                if self._waiting > CAPACITY:
                    self._forget(writing)
            self._soon(writing)

    def created(self, run: Run) -> None:
        """Announce a run that this process created."""
        with self._changed:
            writing = Writing(run.info.run_id, created=run, is_own=True, since=now())
            writing.is_child = PARENT in run.data.tags
            writing.changes.tags.update(mirrored_tags(run))
            self._runs[run.info.run_id] = writing
            self._soon(writing)

    def resumed(self, run_id: str) -> None:
        """Announce that this process takes a run up again."""
        with self._changed:
            self._runs.setdefault(run_id, Writing(run_id)).is_own = True

    def experiment_changed(self, experiment_id: str) -> None:
        """Announce that an experiment was tagged: the next of its runs brings the tags over, or else `catch_up`."""
        self._delivery.experiment_changed(experiment_id)

    def is_child(self, run_id: str) -> bool:
        """Whether a run is known to be nested in another."""
        with self._changed:
            writing = self._runs.get(run_id)
            return writing is not None and writing.is_child

    def ended(self, run_id: str, *, deadline: float, insist: bool = False) -> Writing:
        """Have a run settled that has ended, and wait for it.

        Parameters
        ----------
        run_id : str
            A run of the primary.
        deadline : float
            Seconds to wait at most. A secondary that fails is not waited for.
        insist : bool
            Try at once even while a pause is made because the secondary failed.

        Returns
        -------
        Writing
            With the outcome, None when the time was not enough.
        """
        with self._changed:
            writing = self._runs.setdefault(run_id, Writing(run_id))
            writing.is_ended, writing.outcome, writing.due, writing.failures = True, None, 0.0, 0
            if insist:
                self._paused_until = 0.0
            self._start()
            self._changed.notify_all()
            until = min(time.monotonic() + deadline, self._leave_at)
            while writing.outcome is None:
                fails = writing.failures or self._paused_until > time.monotonic()
                left = until - time.monotonic()
                if left <= 0 or fails:
                    break
                self._changed.wait(left)
            return writing

    def flush(self, deadline: float) -> bool:
        """Write what waits and settle what has ended, now; tell whether all of it was done in time.

        Parameters
        ----------
        deadline : float
            Seconds to wait at most. A secondary that fails is not waited for.
        """
        until = time.monotonic() + deadline
        with self._changed:
            while busy := [writing for writing in self._runs.values() if not writing.is_idle]:
                for writing in busy:
                    if not writing.failures:
                        writing.due = 0.0
                self._changed.notify_all()
                left = until - time.monotonic()
                fails = all(writing.failures for writing in busy) or self._paused_until > time.monotonic()
                if left <= 0 or fails:
                    return False
                self._changed.wait(left)
            return True

    def settled_elsewhere(self, run_id: str) -> None:
        """Forget a run that was behind, and that somebody else made equal: the secondary is there, so no pause."""
        with self._changed:
            self._failures, self._paused_until = 0, 0.0
            self._changed.notify_all()
            writing = self._runs.get(run_id)
            if writing is not None and writing.is_behind and not writing.is_busy and not writing.is_own:
                del self._runs[run_id]

    def leave(self) -> None:
        """Flush before the interpreter exits; whatever ends a run afterwards has the rest of the time."""
        if os.getpid() != self._process_id:
            # A forked process inherited this call, but not the threads.
            return
        self._leave_at = time.monotonic() + EXIT_DEADLINE
        self.flush(EXIT_DEADLINE)
        behind = [writing.run_id for writing in self.writings() if not writing.is_idle]
        if behind:
            _logger.warning("Not whole in Azure ML yet; catch_up(run_ids=%s) mends it.", behind)

    def writings(self) -> list[Writing]:
        """The runs that this process has to do with."""
        with self._changed:
            return list(self._runs.values())

    def _soon(self, writing: Writing) -> None:
        """Make a write due, and wake a thread that would sleep too long."""
        wait = 0.0 if len(writing.changes.metrics) >= _FULL else INTERVAL
        due = time.monotonic() + wait
        # A run that failed has its time; one that is behind for want of room has none yet.
        if due < writing.due and not writing.failures:
            writing.due = due
            self._start()
            self._changed.notify_all()

    def _forget(self, writing: Writing) -> None:
        """Drop what waits of a run: it is to be compared instead."""
        self._waiting -= writing.changes.size
        writing.changes = Changes()
        writing.is_behind, writing.is_known = True, False

    def _start(self) -> None:
        # Python starts no threads any more while it exits: what flushes then must run already.
        if self._is_started:
            return
        self._is_started = True
        # After MLflow registered its own, which ends the active run: so this comes first.
        atexit.register(self.leave)
        threading.Thread(target=self._work, args=(_is_write,), name="adbazureml-write", daemon=True).start()
        for number in range(_SETTLERS):
            name = f"adbazureml-settle-{number}"
            threading.Thread(target=self._work, args=(_is_settle,), name=name, daemon=True).start()

    def _work(self, fits: Callable[[Writing], bool]) -> None:
        while True:
            with self._changed:
                writing = self._wait_for_job(fits)
                changes, writing.changes = writing.changes, Changes()
                self._waiting -= changes.size
                compare, is_ended = writing.is_behind, writing.is_ended
                writing.is_busy, writing.is_comparing = True, compare or is_ended
                writing.is_behind = writing.is_ended = False
                writing.due = _NEVER
                if is_ended:
                    # This comparison may not see what is written from here on: it must be marked.
                    writing.is_own, writing.mark = False, ""
            try:
                ended_elsewhere = False
                outcome = None
                if not compare:
                    compare = not self._delivery.write(writing, changes)
                if compare or is_ended:
                    outcome = self._delivery.settle(writing, files=is_ended)
                elif not writing.is_own:
                    ended_elsewhere = self._delivery.is_left_over(writing)
            except Exception as error:
                self._failed(writing, reason(error), is_ended=is_ended, is_away=True)
                continue
            if is_ended and outcome is not None and not outcome.settled:
                self._failed(writing, outcome.reason, is_ended=True, is_away=False)
            else:
                self._done(writing, outcome, is_ended=is_ended, ended_elsewhere=ended_elsewhere)

    def _wait_for_job(self, fits: Callable[[Writing], bool]) -> Writing:
        while True:
            waiting = [writing for writing in self._runs.values() if not writing.is_busy and fits(writing)]
            first = min(waiting, key=lambda writing: writing.due, default=None)
            wait = None
            if first is not None:
                wait = max(first.due, self._paused_until) - time.monotonic()
                if wait <= 0:
                    return first
            # A time without end is more than a wait takes.
            self._changed.wait(None if wait == _NEVER else wait)

    def _done(self, writing: Writing, outcome: Settled | None, *, is_ended: bool, ended_elsewhere: bool) -> None:
        with self._changed:
            if writing.failures and is_ended:
                _logger.info("Run %s is whole in Azure ML now.", writing.run_id)
            if outcome is not None and outcome.refused:
                _logger.warning("Run %s stands in Azure ML, but: %s.", writing.run_id, outcome.reason)
            self._failures, self._paused_until = 0, 0.0
            writing.failures, writing.reason = 0, ""
            writing.is_busy = writing.is_comparing = False
            if outcome is not None:
                writing.epoch += 1
                writing.outcome = outcome
            writing.is_ended = writing.is_ended or ended_elsewhere
            if writing.is_idle:
                writing.since = ""
                if is_ended:
                    # Whoever writes to it again begins anew.
                    self._runs.pop(writing.run_id, None)
            else:
                writing.due = min(writing.due, time.monotonic() + INTERVAL)
            self._changed.notify_all()

    def _failed(self, writing: Writing, why: str, *, is_ended: bool, is_away: bool) -> None:
        if is_ended and why != writing.reason:
            # For `status`, in whatever process.
            writing.mark = f"{now()} {why}"
            self._delivery.mark(writing)
        with self._changed:
            writing.is_busy = writing.is_comparing = False
            self._forget(writing)
            writing.epoch += 1
            writing.is_ended = writing.is_ended or is_ended
            writing.reason = why
            writing.failures += 1
            writing.due = time.monotonic() + min(2.0 ** (writing.failures - 1), _LONGEST_PAUSE)
            if is_away:
                # Each try may take minutes of MLflow's own retries: spare the other runs.
                self._failures += 1
                self._paused_until = time.monotonic() + min(2.0 ** (self._failures - 1), _LONGEST_PAUSE)
            self._changed.notify_all()


def _is_write(writing: Writing) -> bool:
    return bool(writing.changes) and not writing.is_behind and not writing.is_ended


def _is_settle(writing: Writing) -> bool:
    return writing.is_behind or writing.is_ended


_outboxes: dict[Pair, Outbox] = {}


def outbox_of(pair: Pair) -> Outbox:
    """The outbox of a pair in this process."""
    # One that another thread made meanwhile is kept; this one never started a thread.
    return _outboxes.get(pair) or _outboxes.setdefault(pair, Outbox(pair))


def flush(deadline: float = 60.0) -> bool:
    """Bring everything logged so far in this process to the secondary now, and settle the runs that have ended.

    Parameters
    ----------
    deadline : float
        Seconds to wait at most. A secondary that fails is not waited for.

    Returns
    -------
    bool
        Whether all of it is there.
    """
    until = time.monotonic() + deadline
    done = [outbox.flush(max(until - time.monotonic(), 0.0)) for outbox in list(_outboxes.values())]
    return all(done)


# Threads do not come along into a forked process, and locks may be held there for ever: it begins anew, and what waited
# is its parent's to write.
os.register_at_fork(after_in_child=_outboxes.clear)
