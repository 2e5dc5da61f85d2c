"""Bring what was written to the primary to the replica, behind the writer's back.

MLflow's own asynchronous queue does not serve here: it knows no bound, waits at exit for as long as the service hangs,
is buffered by a setting that the user may want otherwise, and does not survive a fork. This outbox never blocks a
writer and may forget at any time: the primary has everything. What it forgot, for want of room or because the replica
failed, makes the run *out of sync*, and a run that is out of sync is compared with the primary instead.

Two kinds of daemon threads work: one writes batches, so that a point is seen in the replica a few seconds after it
was logged; the others reconcile runs that ended, which may take as long as an upload. They end when the outbox is
closed.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from adbazureml.azureml_mlflow.mlflow_errors import explain_error, is_outage
from adbazureml.text import logger
from adbazureml.tracking import run_tags
from adbazureml.tracking.abandoned_runs import find_abandoned_runs
from adbazureml.tracking.circuit_breaker import LONGEST_PAUSE, CircuitBreaker, State
from adbazureml.tracking.pending_changes import PendingChanges
from adbazureml.tracking.reconciler import Reconciler, ReconcileResult
from adbazureml.tracking.run_sync import RunSync
from adbazureml.tracking.run_sync_state import RunSyncState, Work
from adbazureml.tracking.sync_record import counterpart_tags, now

if TYPE_CHECKING:
    from mlflow.entities import Run

    from adbazureml.tracking.store_pair import StorePair

_logger = logger(__name__)

# Seconds between a write and its batch: with the request itself, a point is seen well within ten.
INTERVAL = 5.0
# Things that wait, over all runs: about 60 MB.
CAPACITY = 100_000
# Seconds that the end of the interpreter waits for the replica.
EXIT_DEADLINE = 8.0
# A batch that fills a request is due at once.
_FULL = 1000
_RECONCILERS = 4
# Seconds between tries to reconcile a run that alone fails.
_LONGEST_PAUSE = 60.0
# More runs than these are not named one by one.
_NAMED = 20
_NEVER = float("inf")

Ticket = tuple[RunSyncState, int]


class Outbox:
    """The write-behind queue of a pair; as a context manager, it is closed at the end of the block."""

    def __init__(self, pair: StorePair) -> None:
        self._pair = pair
        self._run_sync = RunSync(Reconciler(pair))
        self._runs: dict[str, RunSyncState] = {}
        self._waiting = 0
        self._changed = threading.Condition()
        self._breaker = CircuitBreaker()
        self._leave_at = _NEVER
        # Set when the outbox is closed; opening it again makes another one.
        self._closed = threading.Event()
        self._threads: set[str] = set()
        self._process_id = os.getpid()
        self._is_searching = False
        self._seen_experiments: set[str] = set()

    def __enter__(self) -> Outbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush(EXIT_DEADLINE)
        self.close()

    def begin(self, run_id: str, *, hidden: bool, set_tag: Callable[[str, str], None]) -> Ticket:
        """Announce a write to a run, before it is done.

        Parameters
        ----------
        run_id : str
            A run of the primary.
        hidden : bool
            Whether a snapshot of the run may not show the write afterwards, as a point in the midst of a history.
        set_tag : callable
            Sets a tag of the run on the primary: should this process die, the tag tells that the run is out of sync.

        Returns
        -------
        Ticket
            For `add`, or `missed` where the write fails.
        """
        with self._changed:
            sync_state = self._runs.get(run_id)
            if sync_state is None:
                sync_state = self._runs[run_id] = RunSyncState(run_id)
            must_tag = hidden and not sync_state.is_own and not sync_state.tag_value
            if must_tag:
                sync_state.tag_value = now()
            ticket = sync_state, sync_state.epoch
            sync_state.announced += 1
        if must_tag:
            set_tag(run_tags.own_out_of_sync_tag(), sync_state.tag_value)
        return ticket

    def add(self, ticket: Ticket, change: Callable[[PendingChanges, bool], None]) -> None:
        """Put what was written into the outbox.

        Parameters
        ----------
        ticket : Ticket
            What `begin` returned.
        change : callable
            Puts it into `PendingChanges`; its second argument tells whether the replica may have it already.
        """
        announced, epoch = ticket
        with self._changed:
            announced.announced -= 1
            # The run may have been in sync since, and written to again.
            sync_state = self._runs.setdefault(announced.run_id, announced)
            sync_state.since = sync_state.since or now()
            if sync_state.takes_changes:
                before = sync_state.changes.size
                change(
                    sync_state.changes,
                    sync_state.may_have_been_seen or announced is not sync_state or epoch != sync_state.epoch,
                )
                sync_state.require(Work.WRITE)
                self._waiting += sync_state.changes.size - before
                if self._waiting > CAPACITY:
                    self._forget(sync_state)
            self._soon(sync_state)

    def missed(self, ticket: Ticket) -> None:
        """Note that an announced write failed, of which the primary may have taken some or all."""
        announced, _ = ticket
        with self._changed:
            announced.announced -= 1
            announced.keeps_all = False

    def created(self, run: Run) -> None:
        """Announce a run that this process created."""
        with self._changed:
            sync_state = RunSyncState(run.info.run_id, created=run, is_own=True, keeps_all=True, since=now())
            sync_state.changes.tags.update(counterpart_tags(run))
            sync_state.require(Work.WRITE)
            self._runs[run.info.run_id] = sync_state
            self._soon(sync_state)
            experiment_id = run.info.experiment_id
            is_first = experiment_id not in self._seen_experiments
            self._seen_experiments.add(experiment_id)
        if is_first:
            self.bring_over_abandoned([experiment_id])

    def bring_over_abandoned(self, experiment_ids: Sequence[str] | None = None) -> None:
        """Have the runs reconciled that other processes left behind, in a thread that ends once it knows them.

        Parameters
        ----------
        experiment_ids : sequence of str, optional
            Where to look; the experiments that were changed last when left out.
        """
        with self._changed:
            if self._is_searching:
                return
            self._is_searching = True
            self._open()
            if not all(sync_state.is_idle for sync_state in self._runs.values()):
                # From before it was closed.
                self._start()
            closed = self._closed
        _started("adbazureml-abandoned", self._bring_over, experiment_ids, closed)

    def _bring_over(self, experiment_ids: Sequence[str] | None, closed: threading.Event) -> None:
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
                self._is_searching = False

    def resumed(self, run_id: str) -> None:
        """Announce that this process takes a run up again."""
        with self._changed:
            self._runs.setdefault(run_id, RunSyncState(run_id)).is_own = True

    def wrote_files(self, run_id: str) -> None:
        """Announce that this process wrote artifacts of a run: those of one that has ended are copied soon.

        It takes no tag: who lists the run finds them.
        """
        with self._changed:
            known = self._runs.get(run_id)
            if known is not None and known.is_own:
                # Copied at its end.
                return
        self.add(self.begin(run_id, hidden=False, set_tag=lambda *_: None), lambda *_: None)

    def finished_model(self, run_id: str) -> None:
        """Announce that this process finished a logged model of a run: the run's models are looked for at its end."""
        with self._changed:
            if run_id in self._runs:
                self._runs[run_id].has_models = True

    def experiment_changed(self, experiment_id: str) -> None:
        """Announce that an experiment was tagged: the next of its runs brings the tags over, or else `catch_up`."""
        self._run_sync.experiment_changed(experiment_id)

    def ended(self, run_id: str, *, deadline: float, insist: bool = False) -> RunSyncState:
        """Have a run reconciled that has ended, and wait for it as long as is asked.

        Parameters
        ----------
        run_id : str
            A run of the primary.
        deadline : float
            Seconds to wait at most; 0 returns at once. A replica that fails is not waited for.
        insist : bool
            Try at once even while a pause is made because the replica failed.

        Returns
        -------
        RunSyncState
            With the outcome, None when the time was not enough.
        """
        with self._changed:
            sync_state = self._runs.setdefault(run_id, RunSyncState(run_id))
            sync_state.require(Work.RECONCILE)
            sync_state.outcome, sync_state.due, sync_state.failures = None, 0.0, 0
            if insist:
                self._breaker.insist()
            self._start()
            self._changed.notify_all()
            until = min(time.monotonic() + deadline, self._leave_at)
            while sync_state.outcome is None:
                left = until - time.monotonic()
                if left <= 0 or sync_state.failures or self._is_away():
                    break
                self._changed.wait(left)
            return sync_state

    def flush(self, deadline: float, *, insist: bool = False) -> bool:
        """Write what waits and reconcile what has ended, now; tell whether all of it was done in time.

        Parameters
        ----------
        deadline : float
            Seconds to wait at most. A replica that fails is not waited for.
        insist : bool
            Try at once even while a pause is made because the replica failed.
        """
        until = time.monotonic() + deadline
        with self._changed:
            if insist:
                self._breaker.insist()
            if not all(sync_state.is_idle for sync_state in self._runs.values()):
                self._start()
            while busy := [sync_state for sync_state in self._runs.values() if not sync_state.is_idle]:
                for sync_state in busy:
                    if not sync_state.failures:
                        sync_state.due = 0.0
                self._changed.notify_all()
                left = until - time.monotonic()
                if left <= 0 or all(sync_state.failures for sync_state in busy) or self._is_away():
                    return False
                self._changed.wait(left)
            return True

    def reconciled_elsewhere(self, run_id: str) -> None:
        """Forget a run that was out of sync, and that somebody else made equal: the replica is there, so no pause."""
        with self._changed:
            self._breaker.succeeded()
            self._changed.notify_all()
            sync_state = self._runs.get(run_id)
            if sync_state is None or sync_state.is_own or sync_state.doing or sync_state.changes:
                return
            if sync_state.needs >= Work.COMPARE:
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
        unfinished = [sync_state for sync_state in self.sync_states() if not sync_state.is_idle]
        if len(unfinished) > _NAMED:
            since = min(sync_state.since or now() for sync_state in unfinished)
            _logger.warning(
                "%d runs are not whole in Azure ML yet; catch_up(since=%r) mends it.", len(unfinished), since
            )
        elif unfinished:
            run_ids = [sync_state.run_id for sync_state in unfinished]
            _logger.warning("Not whole in Azure ML yet; catch_up(run_ids=%s) mends it.", run_ids)

    def close(self) -> None:
        """Let the threads end once nothing is left for them, or at once while the replica is away.

        Nothing is waited for, and nothing that fails is tried again: no thread outlives the requests that it is at,
        each of which takes `retry_policy.REPLICA_REQUESTS.total` seconds at most. What is left then is out of sync, as
        after the end of the process. A later write opens the outbox again.
        """
        with self._changed:
            self._closed.set()
            for sync_state in self._runs.values():
                # What is logged until it is opened again may go by unheard.
                sync_state.keeps_all = False
                if not sync_state.is_idle and not sync_state.failures:
                    sync_state.due, sync_state.aways = 0.0, 0
            self._changed.notify_all()

    def sync_states(self) -> list[RunSyncState]:
        """The runs that this process has to do with."""
        with self._changed:
            return list(self._runs.values())

    def _soon(self, sync_state: RunSyncState) -> None:
        """Make a write due, and wake a thread that would sleep too long."""
        wait = 0.0 if len(sync_state.changes.metrics) >= _FULL else INTERVAL
        due = time.monotonic() + wait
        # A run that failed has its time; one that is out of sync for want of room has none yet.
        if due < sync_state.due and not sync_state.failures:
            sync_state.due = due
            self._start()
            self._changed.notify_all()

    def _forget(self, sync_state: RunSyncState) -> None:
        """Drop what waits of a run: it is to be compared instead."""
        self._waiting -= sync_state.changes.size
        sync_state.forget()

    def _is_away(self) -> bool:
        """Whether nothing is tried now, as the replica failed."""
        return self._breaker.state is State.OPEN and self._breaker.wait() > 0

    def _open(self) -> None:
        if self._closed.is_set():
            self._closed = threading.Event()

    def _start(self) -> None:
        self._open()
        _register_leaving()
        _import_for_threads(self._pair.replica_uri)
        for name, fits in _WORK.items():
            # Python starts no threads any more while it exits: what flushes then must run already.
            if name not in self._threads and _started(name, self._work, name, fits):
                self._threads.add(name)

    def _work(self, name: str, fits: Callable[[RunSyncState], bool]) -> None:
        while True:
            with self._changed:
                sync_state = self._wait_for_job(fits)
                if sync_state is None:
                    self._threads.discard(name)
                    return
                work, changes = self._begin(sync_state)
            self._do(sync_state, work, changes)

    def _begin(self, sync_state: RunSyncState) -> tuple[Work, PendingChanges]:
        self._breaker.begin()
        work, changes = sync_state.begin()
        self._waiting -= changes.size
        sync_state.due = _NEVER
        if work is Work.RECONCILE:
            # This comparison may not see what is written from here on: it must be tagged.
            sync_state.is_own, sync_state.tag_value = False, ""
        return work, changes

    def _do(self, sync_state: RunSyncState, work: Work, changes: PendingChanges) -> None:
        try:
            outcome = self._deliver(sync_state, work, changes)
            left_over = outcome is None and self._run_sync.is_left_over(sync_state)
        except Exception as error:
            self._failed(sync_state, explain_error(error), is_away=is_outage(error))
            return
        if work is Work.RECONCILE and outcome is not None and not outcome.in_sync:
            self._failed(sync_state, outcome.reason, is_away=False)
        else:
            self._done(sync_state, outcome, left_over=left_over)

    def _deliver(self, sync_state: RunSyncState, work: Work, changes: PendingChanges) -> ReconcileResult | None:
        """Do what a run needs; None where its changes went out and it was not compared."""
        # A run that ends without a counterpart gets all of it from the comparison.
        if work is Work.WRITE or (work is Work.RECONCILE and changes and not sync_state.created):
            if self._run_sync.write(sync_state, changes):
                if work is Work.WRITE:
                    return None
            else:
                with self._changed:
                    sync_state.escalate()
        return self._run_sync.reconcile(sync_state, changes, files=work is Work.RECONCILE)

    def _wait_for_job(self, fits: Callable[[RunSyncState], bool]) -> RunSyncState | None:
        """The next run that is due; None when the thread is to end."""
        while True:
            waiting = [sync_state for sync_state in self._runs.values() if not sync_state.doing and fits(sync_state)]
            first = min(waiting, key=lambda sync_state: sync_state.due, default=None)
            wait = None
            if first is not None:
                wait = max(first.due - time.monotonic(), self._breaker.wait())
                if wait <= 0:
                    return first
            if self._closed.is_set() and (self._breaker.state is not State.CLOSED or not self._is_left(fits)):
                return None
            # A time without end is more than a wait takes.
            self._changed.wait(None if wait == _NEVER else wait)

    def _is_left(self, fits: Callable[[RunSyncState], bool]) -> bool:
        """Whether there is, or may soon be, work for a thread that is to end."""
        return any(
            sync_state.doing or (fits(sync_state) and not sync_state.failures and not sync_state.aways)
            for sync_state in self._runs.values()
        )

    def _done(self, sync_state: RunSyncState, outcome: ReconcileResult | None, *, left_over: bool) -> None:
        with self._changed:
            was_reconciled = sync_state.doing is Work.RECONCILE
            if sync_state.failures and was_reconciled:
                _logger.info("Run %s is whole in Azure ML now.", sync_state.run_id)
            if outcome is not None and outcome.rejected:
                _logger.warning("Run %s stands in Azure ML, but: %s.", sync_state.run_id, outcome.reason)
            if self._breaker.succeeded():
                _logger.info("Azure ML answers again: what it lacks is brought over.")
            sync_state.failures, sync_state.aways, sync_state.reason = 0, 0, ""
            sync_state.finish()
            if outcome is not None:
                sync_state.epoch += 1
                sync_state.outcome = outcome
            if left_over:
                sync_state.require(Work.RECONCILE)
            if sync_state.is_idle:
                sync_state.since = ""
                if was_reconciled:
                    # Whoever writes to it again begins anew.
                    self._runs.pop(sync_state.run_id, None)
            else:
                sync_state.due = min(sync_state.due, time.monotonic() + INTERVAL)
            self._changed.notify_all()

    def _failed(self, sync_state: RunSyncState, why: str, *, is_away: bool) -> None:
        if sync_state.doing is Work.RECONCILE and why != sync_state.reason:
            # For `status`, in whatever process.
            sync_state.tag_value = f"{now()} {why}"
            self._run_sync.tag_out_of_sync(sync_state)
        with self._changed:
            self._waiting -= sync_state.changes.size
            sync_state.fail()
            sync_state.epoch += 1
            is_news, sync_state.reason = why != sync_state.reason, why
            if is_away:
                # One warning an outage. What makes the replica fail shall not be the next try each time.
                is_news = self._breaker.failed()
                sync_state.aways += 1
                sync_state.due = time.monotonic() + min(2.0**sync_state.aways, LONGEST_PAUSE)
            else:
                self._breaker.succeeded()
                sync_state.failures += 1
                sync_state.due = time.monotonic() + min(2.0 ** (sync_state.failures - 1), _LONGEST_PAUSE)
            if is_news:
                _logger.warning(
                    "Run %s is not whole in Azure ML yet (%s); catch_up(run_ids=['%s']) mends it. This process goes on"
                    " trying, for all its runs, and training goes on.",
                    sync_state.run_id,
                    why,
                    sync_state.run_id,
                )
            self._changed.notify_all()


@functools.cache
def _import_for_threads(replica_uri: str) -> None:
    """Import here what the threads' requests import first.

    In a thread, an import may wait for the lock of MLflow's import hooks, whose holder, such as the first
    `mlflow.evaluate`, waits for an import in that thread: for ever.
    """
    import mlflow.utils.search_logged_model_utils  # noqa: F401
    from mlflow.tracking.request_header.registry import resolve_request_headers

    # MLflow shows progress with it where it is in the environment. In a notebook without ipywidgets it draws bars as
    # text, and would say so in red in the midst of training.
    with suppress(ImportError), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        import tqdm.auto  # noqa: F401
    # Each request's headers ask for this module, and where there is none look for it each time anew, with those locks.
    if "dbruntime" not in sys.modules and importlib.util.find_spec("dbruntime") is None:
        sys.modules["dbruntime.databricks_repl_context"] = None  # type: ignore[assignment]
    resolve_request_headers()
    if replica_uri.startswith("azureml:"):
        import azureml.mlflow._store.artifact.utils  # noqa: F401


def _started(name: str, work: Callable[..., None], *arguments: Any) -> bool:
    """Start a thread; tell whether that was possible."""
    try:
        threading.Thread(target=work, args=arguments, name=name, daemon=True).start()
    except RuntimeError:
        return False
    return True


def _is_write(sync_state: RunSyncState) -> bool:
    return sync_state.needs is Work.WRITE


def _is_reconcile(sync_state: RunSyncState) -> bool:
    return sync_state.needs >= Work.COMPARE


_WORK = {"adbazureml-write": _is_write} | {
    f"adbazureml-reconcile-{number}": _is_reconcile for number in range(_RECONCILERS)
}

_outboxes: dict[StorePair, Outbox] = {}


def outbox_of(pair: StorePair) -> Outbox:
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
    """Bring everything logged so far in this process to the replica now, and reconcile the runs that have ended.

    Parameters
    ----------
    deadline : float
        Seconds to wait at most. A replica that fails is not waited for.

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
        Seconds to wait at most. A replica that fails is not waited for.

    Returns
    -------
    bool
        Whether all that was logged is there.
    """
    done = flush(deadline)
    close_outboxes()
    return done


def close_outboxes(*, but: StorePair | None = None) -> None:
    """Let the threads of all pairs but one end, each when its work is done; nobody waits for it."""
    for pair, outbox in list(_outboxes.items()):
        if pair != but:
            outbox.close()


# Threads do not come along into a forked process, and locks may be held there for ever: it begins anew, and what waited
# is its parent's to write.
os.register_at_fork(after_in_child=_outboxes.clear)
