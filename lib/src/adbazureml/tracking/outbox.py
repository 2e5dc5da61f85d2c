"""Bring what was written to the primary to the secondary, behind the writer's back.

MLflow's own asynchronous queue does not serve here: it knows no bound, waits at exit for as long as the service hangs,
is buffered by a setting that the user may want otherwise, and does not survive a fork. This outbox never blocks a
writer and may forget at any time: the primary has everything. What it forgot, for want of room or because the secondary
failed, makes the run *behind*, and a run that is behind is compared with the primary instead.

Two kinds of daemon threads work: one writes batches, so that a point is seen in the secondary a few seconds after it
was logged; the others settle runs that ended, which may take as long as an upload. They end when the outbox is closed.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from adbazureml.text import logger
from adbazureml.tracking import run_tags
from adbazureml.tracking.circuit_breaker import LONGEST_PAUSE, CircuitBreaker, State
from adbazureml.tracking.pending_changes import PendingChanges
from adbazureml.tracking.run_sync import Delivery, Writing
from adbazureml.azureml_mlflow.mlflow_errors import is_outage, explain_error
from adbazureml.tracking.abandoned_runs import find_abandoned_runs
from adbazureml.tracking.reconciler import Mirror, Settled
from adbazureml.tracking.sync_record import mirrored_tags, now

if TYPE_CHECKING:
    from mlflow.entities import Run

    from adbazureml.tracking.store_pair import Pair

_logger = logger(__name__)

# Seconds between a write and its batch: with the request itself, a point is seen well within ten.
INTERVAL = 5.0
# Things that wait, over all runs: about 60 MB.
CAPACITY = 100_000
# Seconds that the end of the interpreter waits for the secondary.
EXIT_DEADLINE = 8.0
# A batch that fills a request is due at once.
_FULL = 1000
_SETTLERS = 4
# Seconds between tries to settle a run that alone fails.
_LONGEST_PAUSE = 60.0
# More runs than these are not named one by one.
_NAMED = 20
_NEVER = float("inf")

Ticket = tuple[Writing, int]


class Outbox:
    """The write-behind queue of a pair; as a context manager, it is closed at the end of the block."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._delivery = Delivery(Mirror(pair))
        self._runs: dict[str, Writing] = {}
        self._waiting = 0
        self._changed = threading.Condition()
        self._breaker = CircuitBreaker()
        self._leave_at = _NEVER
        # Set when the outbox is closed; opening it again makes another one.
        self._closed = threading.Event()
        self._threads: set[str] = set()
        self._process_id = os.getpid()
        self._is_looking = False
        self._seen_experiments: set[str] = set()

    def __enter__(self) -> Outbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush(EXIT_DEADLINE)
        self.close()

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
            mark(run_tags.own_out_of_sync_tag(), writing.mark)
        return ticket

    def add(self, ticket: Ticket, change: Callable[[PendingChanges, bool], None]) -> None:
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
            writing.changes.tags.update(mirrored_tags(run))
            self._runs[run.info.run_id] = writing
            self._soon(writing)
            experiment_id = run.info.experiment_id
            is_first = experiment_id not in self._seen_experiments
            self._seen_experiments.add(experiment_id)
        if is_first:
            self.look_for_left([experiment_id])

    def look_for_left(self, experiment_ids: Sequence[str] | None = None) -> None:
        """Have the runs settled that other processes left behind, in a thread that ends once it knows them.

        Parameters
        ----------
        experiment_ids : sequence of str, optional
            Where to look; the experiments that were changed last when left out.
        """
        with self._changed:
            if self._is_looking:
                return
            self._is_looking = True
            self._open()
            if not all(writing.is_idle for writing in self._runs.values()):
                # From before it was closed.
                self._start()
            closed = self._closed
        _started("adbazureml-look", self._look, experiment_ids, closed)

    def _look(self, experiment_ids: Sequence[str] | None, closed: threading.Event) -> None:
        try:
            for run_id in find_abandoned_runs(self._pair, experiment_ids):
                with self._changed:
                    # What is found late shall not open an outbox that was closed since.
                    if closed.is_set():
                        return
                    _logger.info("Run %s was left behind by a process that ended: it is brought over now.", run_id)
                    self.ended(run_id, deadline=0.0)
        except Exception:
            # `catch_up` will tell what is wrong.
            _logger.debug("Runs that were left behind could not be looked for.", exc_info=True)
        finally:
            with self._changed:
                self._is_looking = False

    def resumed(self, run_id: str) -> None:
        """Announce that this process takes a run up again."""
        with self._changed:
            self._runs.setdefault(run_id, Writing(run_id)).is_own = True

    def experiment_changed(self, experiment_id: str) -> None:
        """Announce that an experiment was tagged: the next of its runs brings the tags over, or else `catch_up`."""
        self._delivery.experiment_changed(experiment_id)

    def ended(self, run_id: str, *, deadline: float, insist: bool = False) -> Writing:
        """Have a run settled that has ended, and wait for it as long as is asked.

        Parameters
        ----------
        run_id : str
            A run of the primary.
        deadline : float
            Seconds to wait at most; 0 returns at once. A secondary that fails is not waited for.
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
                self._breaker.insist()
            self._start()
            self._changed.notify_all()
            until = min(time.monotonic() + deadline, self._leave_at)
            while writing.outcome is None:
                left = until - time.monotonic()
                if left <= 0 or writing.failures or self._is_away():
                    break
                self._changed.wait(left)
            return writing

    def flush(self, deadline: float, *, insist: bool = False) -> bool:
        """Write what waits and settle what has ended, now; tell whether all of it was done in time.

        Parameters
        ----------
        deadline : float
            Seconds to wait at most. A secondary that fails is not waited for.
        insist : bool
            Try at once even while a pause is made because the secondary failed.
        """
        until = time.monotonic() + deadline
        with self._changed:
            if insist:
                self._breaker.insist()
            if not all(writing.is_idle for writing in self._runs.values()):
                self._start()
            while busy := [writing for writing in self._runs.values() if not writing.is_idle]:
                for writing in busy:
                    if not writing.failures:
                        writing.due = 0.0
                self._changed.notify_all()
                left = until - time.monotonic()
                if left <= 0 or all(writing.failures for writing in busy) or self._is_away():
                    return False
                self._changed.wait(left)
            return True

    def settled_elsewhere(self, run_id: str) -> None:
        """Forget a run that was behind, and that somebody else made equal: the secondary is there, so no pause."""
        with self._changed:
            self._breaker.succeeded()
            self._changed.notify_all()
            writing = self._runs.get(run_id)
            if writing is not None and writing.is_behind and not writing.is_busy and not writing.is_own:
                del self._runs[run_id]

    @property
    def is_at_work(self) -> bool:
        """Whether it has threads in this process."""
        return bool(self._threads) and os.getpid() == self._process_id

    def leave(self) -> None:
        """Flush before the interpreter exits; whatever ends a run afterwards has the rest of the time."""
        if os.getpid() != self._process_id:
            # A forked process inherited this call, but not the threads.
            return
        self._leave_at = time.monotonic() + EXIT_DEADLINE
        if self._threads:
            self.flush(EXIT_DEADLINE)
        behind = [writing for writing in self.writings() if not writing.is_idle]
        if len(behind) > _NAMED:
            since = min(writing.since or now() for writing in behind)
            _logger.warning("%d runs are not whole in Azure ML yet; catch_up(since=%r) mends it.", len(behind), since)
        elif behind:
            run_ids = [writing.run_id for writing in behind]
            _logger.warning("Not whole in Azure ML yet; catch_up(run_ids=%s) mends it.", run_ids)

    def close(self) -> None:
        """Let the threads end once nothing is left for them, or at once while the secondary is away.

        Nothing is waited for, and nothing that fails is tried again: no thread outlives the requests that it is at,
        each of which takes `patience.MIRROR.total` seconds at most. What is left then is behind, as after the end of
        the process. A later write opens the outbox again.
        """
        with self._changed:
            self._closed.set()
            for writing in self._runs.values():
                if not writing.is_idle and not writing.failures:
                    writing.due, writing.aways = 0.0, 0
            self._changed.notify_all()

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
        writing.changes = PendingChanges()
        writing.is_behind, writing.is_known = True, False

    def _is_away(self) -> bool:
        """Whether nothing is tried now, as the secondary failed."""
        return self._breaker.state is State.OPEN and self._breaker.wait() > 0

    def _open(self) -> None:
        if self._closed.is_set():
            self._closed = threading.Event()

    def _start(self) -> None:
        self._open()
        _register_leaving()
        for name, fits in _WORK.items():
            # Python starts no threads any more while it exits: what flushes then must run already.
            if name not in self._threads and _started(name, self._work, name, fits):
                self._threads.add(name)

    def _work(self, name: str, fits: Callable[[Writing], bool]) -> None:
        while True:
            with self._changed:
                writing = self._wait_for_job(fits)
                if writing is None:
                    self._threads.discard(name)
                    return
                self._breaker.begin()
                changes, writing.changes = writing.changes, PendingChanges()
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
                self._failed(writing, explain_error(error), is_ended=is_ended, is_away=is_outage(error))
                continue
            if is_ended and outcome is not None and not outcome.settled:
                self._failed(writing, outcome.reason, is_ended=True, is_away=False)
            else:
                self._done(writing, outcome, is_ended=is_ended, ended_elsewhere=ended_elsewhere)

    def _wait_for_job(self, fits: Callable[[Writing], bool]) -> Writing | None:
        """The next run that is due; None when the thread is to end."""
        while True:
            waiting = [writing for writing in self._runs.values() if not writing.is_busy and fits(writing)]
            first = min(waiting, key=lambda writing: writing.due, default=None)
            wait = None
            if first is not None:
                wait = max(first.due - time.monotonic(), self._breaker.wait())
                if wait <= 0:
                    return first
            if self._closed.is_set() and (self._breaker.state is not State.CLOSED or not self._is_left(fits)):
                return None
            # A time without end is more than a wait takes.
            self._changed.wait(None if wait == _NEVER else wait)

    def _is_left(self, fits: Callable[[Writing], bool]) -> bool:
        """Whether there is, or may soon be, work for a thread that is to end."""
        return any(
            writing.is_busy or (fits(writing) and not writing.failures and not writing.aways)
            for writing in self._runs.values()
        )

    def _done(self, writing: Writing, outcome: Settled | None, *, is_ended: bool, ended_elsewhere: bool) -> None:
        with self._changed:
            if writing.failures and is_ended:
                _logger.info("Run %s is whole in Azure ML now.", writing.run_id)
            if outcome is not None and outcome.refused:
                _logger.warning("Run %s stands in Azure ML, but: %s.", writing.run_id, outcome.reason)
            if self._breaker.succeeded():
                _logger.info("Azure ML answers again: what it lacks is brought over.")
            writing.failures, writing.aways, writing.reason = 0, 0, ""
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
            is_news, writing.reason = why != writing.reason, why
            if is_away:
                # One warning an outage. What makes the secondary fail shall not be the next try each time.
                is_news = self._breaker.failed()
                writing.aways += 1
                writing.due = time.monotonic() + min(2.0**writing.aways, LONGEST_PAUSE)
            else:
                self._breaker.succeeded()
                writing.failures += 1
                writing.due = time.monotonic() + min(2.0 ** (writing.failures - 1), _LONGEST_PAUSE)
            if is_news:
                _logger.warning(
                    "Run %s is not whole in Azure ML yet (%s); catch_up(run_ids=['%s']) mends it. This process goes on"
                    " trying, for all its runs, and training goes on.",
                    writing.run_id,
                    why,
                    writing.run_id,
                )
            self._changed.notify_all()


def _started(name: str, work: Callable[..., None], *arguments: Any) -> bool:
    """Start a thread; tell whether that was possible."""
    try:
        threading.Thread(target=work, args=arguments, name=name, daemon=True).start()
    except RuntimeError:
        return False
    return True


def _is_write(writing: Writing) -> bool:
    return bool(writing.changes) and not writing.is_behind and not writing.is_ended


def _is_settle(writing: Writing) -> bool:
    return writing.is_behind or writing.is_ended


_WORK = {"adbazureml-write": _is_write} | {f"adbazureml-settle-{number}": _is_settle for number in range(_SETTLERS)}

_outboxes: dict[Pair, Outbox] = {}


def outbox_of(pair: Pair) -> Outbox:
    """The outbox of a pair in this process."""
    # One that another thread made meanwhile is kept; this one never started a thread.
    return _outboxes.get(pair) or _outboxes.setdefault(pair, Outbox(pair))


@functools.cache
def _register_leaving() -> None:
    # A private means: by the time of `atexit`, the pools that upload files take no more work (RuntimeError "cannot
    # schedule new futures after interpreter shutdown"), and there is no public way to come before them.
    threading._register_atexit(_leave)  # type: ignore[attr-defined]


def _leave() -> None:
    """End the run that a script left active, as MLflow would do a moment later, and flush all outboxes."""
    boxes = [outbox for outbox in list(_outboxes.values()) if outbox.is_at_work]
    if not boxes:
        return
    import mlflow

    with suppress(Exception):
        mlflow.end_run()
    for outbox in boxes:
        outbox.leave()


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
    return flush_all(deadline, insist=True)


def flush_all(deadline: float, *, insist: bool) -> bool:
    """Flush all outboxes of this process; where `insist` is not set, without a try while a pause is made."""
    until = time.monotonic() + deadline
    boxes = list(_outboxes.values())
    done = [outbox.flush(max(until - time.monotonic(), 0.0), insist=insist) for outbox in boxes]
    return all(done)


def close(deadline: float = 60.0) -> bool:
    """Do as `flush`, and let the threads of this process end; what is logged later starts them again.

    For the end of a notebook that calls ``dbutils.notebook.exit``, after which Python may not get to its exit.

    Parameters
    ----------
    deadline : float
        Seconds to wait at most. A secondary that fails is not waited for.

    Returns
    -------
    bool
        Whether all that was logged is there.
    """
    done = flush(deadline)
    close_outboxes()
    return done


def close_outboxes(*, but: Pair | None = None) -> None:
    """Let the threads of all pairs but one end, each when its work is done; nobody waits for it."""
    for pair, outbox in list(_outboxes.items()):
        if pair != but:
            outbox.close()


# Threads do not come along into a forked process, and locks may be held there for ever: it begins anew, and what waited
# is its parent's to write.
os.register_at_fork(after_in_child=_outboxes.clear)
