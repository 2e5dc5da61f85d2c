"""Two real MLflow stores in one process, whose requests, processes, threads and time a test leads step by step.

Both are SQLite stores with folders of artifacts, built by MLflow from URIs of schemes that only tests know. Between a
caller and its store stands a `Line`, where a request may fail, lose its answer, meet the death of its process, or see
something else happen meanwhile. What the outbox does in threads is done here in steps, in one thread, on one clock: so
the same steps always do the same.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import mlflow
import pytest
import sqlalchemy
from mlflow.entities import Run, ViewType
from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.tracking.abstract_store import AbstractStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking._tracking_service import utils

from adbazureml.azureml_mlflow.mlflow_errors import mlflow_error
from adbazureml.tracking import (
    abandoned_runs,
    catchup,
    dual_store,
    metric_points,
    outbox,
    reconciler,
    run_tags,
    store_pair,
    sync_record,
    watched_artifacts,
)
from adbazureml.tracking.circuit_breaker import CircuitBreaker
from adbazureml.tracking.outbox import Outbox
from adbazureml.tracking.run_sync_state import RunSyncState
from adbazureml.tracking.store_pair import StorePair

SCHEMES = ("primarystore", "replicastore")
BROKEN = "broken as told"
# What the replica takes, as Azure ML does: the longest values; and so few params that a test meets the limit.
LONGEST_PARAM, LONGEST_TAG, MOST_PARAMS = 500, 1000, 5
# What has this in its name, the replica refuses.
REFUSED = "refused"
# The line to each store, by its scheme, of the world that is alive.
_lines: dict[str, Line] = {}


class Killed(BaseException):
    """A process died: nothing of it goes on, no handler of errors either."""

    def __init__(self, process: Process) -> None:
        super().__init__(f"process {process.number} was killed")
        self.process = process


class Clock:
    """Takes the place of the module `time`; nothing but `advance` moves it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def time(self) -> float:
        return self.now

    monotonic = time

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class Line:
    """The way to a store.

    Attributes
    ----------
    events : dict of int to callable
        What happens at a request, by its number: called with what asks the store, it gives the answer.
    is_down : bool
        Whether nothing gets through.
    is_plain : bool
        Whether everything gets through and nothing is counted: the test itself asks.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._inside = False
        self.requests = 0
        self.events: dict[int, Callable[[Callable[[], Any]], Any]] = {}
        self.is_down = self.is_plain = False

    def ask(self, call: Callable[[], Any]) -> Any:
        # A store's method may call another of its own.
        if self._inside or self.is_plain:
            return call()
        self.requests += 1
        self._clock.advance(0.001)
        event = self.events.pop(self.requests, None)
        if self.is_down:
            raise broken()
        return event(partial(self._through, call)) if event else self._through(call)

    def _through(self, call: Callable[[], Any]) -> Any:
        self._inside = True
        try:
            return call()
        finally:
            self._inside = False


def broken() -> Exception:
    return mlflow_error(BROKEN, "TEMPORARILY_UNAVAILABLE")


def _refuse(what: str) -> None:
    raise mlflow_error(f"{what} is refused as told", "INVALID_PARAMETER_VALUE")


class BreakingStore(SqlAlchemyStore):
    """MLflow's store behind a line."""

    scheme = ""


def _behind_line(name: str) -> Callable[..., Any]:
    method = getattr(SqlAlchemyStore, name)

    def ask(self: BreakingStore, *arguments: Any, **options: Any) -> Any:
        return _lines[self.scheme].ask(partial(method, self, *arguments, **options))

    return ask


for _name in dir(AbstractStore):
    if not _name.startswith("_") and callable(getattr(SqlAlchemyStore, _name)):
        setattr(BreakingStore, _name, _behind_line(_name))


class RefusingStore(BreakingStore):
    """One that takes less than the primary, as Azure ML does; it refuses a batch as a whole."""

    def log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
        _lines[self.scheme].ask(partial(self._log_batch, run_id, metrics, params, tags))

    def _log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
        for metric in metrics:
            if REFUSED in metric.key:
                _refuse(f"metric {metric.key}")
        for param in params:
            if len(param.value) > LONGEST_PARAM:
                _refuse(f"param {param.key}")
        self._check_tags(tags)
        if params:
            there = SqlAlchemyStore.get_run(self, run_id).data.params
            if len({*there, *(param.key for param in params)}) > MOST_PARAMS:
                _refuse(f"a param beyond {MOST_PARAMS}")
        SqlAlchemyStore.log_batch(self, run_id, metrics, params, tags)

    def set_tag(self, run_id: str, tag: Any) -> None:
        self._check_tags([tag])
        super().set_tag(run_id, tag)

    def create_run(self, experiment_id: str, user_id: str, start_time: int, tags: Any, run_name: str) -> Run:
        self._check_tags(tags)
        self._check_name(run_name)
        return super().create_run(experiment_id, user_id, start_time, tags, run_name)

    def update_run_info(self, run_id: str, run_status: Any, end_time: int, run_name: str) -> Any:
        self._check_name(run_name)
        return super().update_run_info(run_id, run_status, end_time, run_name)

    def log_inputs(self, run_id: str, datasets: Any = None, models: Any = None) -> None:
        for dataset in datasets or ():
            if REFUSED in dataset.dataset.name:
                _refuse(f"dataset {dataset.dataset.name}")
        super().log_inputs(run_id, datasets, models)

    def _check_tags(self, tags: Any) -> None:
        for tag in tags:
            if len(tag.value) > LONGEST_TAG or ":" in tag.key:
                _refuse(f"tag {tag.key}")

    def _check_name(self, name: str | None) -> None:
        if REFUSED in (name or ""):
            _refuse(f"name {name}")


class BreakingArtifacts(LocalArtifactRepository):
    """A folder behind the same line as its store."""

    def __init__(self, artifact_uri: str, *arguments: Any, **options: Any) -> None:
        self.scheme, _, path = artifact_uri.partition(":")
        super().__init__(f"file:{path}", *arguments, **options)

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        self._check(local_file)
        _lines[self.scheme].ask(partial(super().log_artifact, local_file, artifact_path))

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        for file in Path(local_dir).rglob("*"):
            self._check(str(file))
        _lines[self.scheme].ask(partial(super().log_artifacts, local_dir, artifact_path))

    def list_artifacts(self, path: str | None = None) -> Any:
        return _lines[self.scheme].ask(partial(super().list_artifacts, path))

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        _lines[self.scheme].ask(partial(super()._download_file, remote_file_path, local_path))

    def _check(self, file: str) -> None:
        if self.scheme == SCHEMES[1] and REFUSED in Path(file).name:
            _refuse(f"file {Path(file).name}")


def _build(store_uri: str, artifact_uri: str | None = None) -> Any:
    scheme, _, path = store_uri.partition("://")
    store = SqlAlchemyStore(f"sqlite:///{path}", f"{scheme}:{Path(path).parent / 'artifacts'}")
    sqlalchemy.event.listen(store.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    store.engine.dispose()
    store.__class__ = dual_store.dual_store_class(type("Store", (_STORES[scheme],), {"scheme": scheme}))
    store.adbazureml_uri = store_uri
    return store


_STORES = dict(zip(SCHEMES, (BreakingStore, RefusingStore), strict=True))


@cache
def _register() -> None:
    for scheme in SCHEMES:
        utils._tracking_store_registry.register(scheme, _build)
        get_registered_artifact_repositories()[scheme] = watched_artifacts._watched(BreakingArtifacts)


class SteppedCondition(threading.Condition):
    """Whoever waits lets the other threads of the process work, or time pass."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process

    def wait(self, timeout: float | None = None) -> bool:
        if not self._process.step():
            until = self._process.next_due()
            seconds = min(until, float("inf") if timeout is None else timeout)
            assert seconds < float("inf"), "this thread is never woken"
            self._process.world.clock.advance(seconds)
        return True


class Process:
    """A process that tracks in both stores; its threads work where `step` is called."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.threads: list[Callable[[], None]] = []
        self.outbox = Outbox(world.pair)
        self.outbox._changed = SteppedCondition(self)
        self.outbox._breaker = CircuitBreaker(world.clock.monotonic)

    def step(self, choice: int = 0) -> bool:
        """Do one of the jobs that are due; tell whether there was one."""
        box, now = self.outbox, self.world.clock.now
        # Two threads of a process do not look for a counterpart at once.
        if box._run_sync._reconciler.lookup._lock._is_owned():
            return False
        if self.threads:
            self.threads.pop(0)()
            return True
        due = [run for run in self._waiting() if run.due <= now and not box._breaker.wait()]
        if not due:
            return False
        with box._changed:
            run = due[choice % len(due)]
            job = box._begin(run)
        box._do(run, *job)
        return True

    def next_due(self) -> float:
        """Seconds until a job is due."""
        first = min((run.due for run in self._waiting()), default=float("inf"))
        return max(first - self.world.clock.now, self.outbox._breaker.wait(), 0.0)

    def _waiting(self) -> list[RunSyncState]:
        return [run for run in self.outbox._runs.values() if run.needs and not run.doing]

    def settle(self, seconds: float) -> None:
        """Let it work for a time, or until nothing is left."""
        until = self.world.clock.now + seconds
        while self.world.clock.now < until and not self.world.is_over(self):
            if not self.step():
                if (pause := self.next_due()) == float("inf"):
                    return
                self.world.clock.advance(max(pause, 0.001))


class World:
    """Two stores and the processes that write to them."""

    def __init__(self, folder: Path) -> None:
        _register()
        self.clock = Clock()
        self.experiment = "experiment"
        self._patch = pytest.MonkeyPatch()
        self._empty(folder)
        uris = [f"{scheme}://{folder / scheme / 'mlflow.db'}" for scheme in SCHEMES]
        page = "http://page/{experiment_id}/{run_id}"
        self.pair = StorePair(primary_uri=uris[0], primary_page=page, replica_uri=uris[1], replica_page=page)
        self.primary_line, self.replica_line = (Line(self.clock) for _ in SCHEMES)
        _lines.update(zip(SCHEMES, (self.primary_line, self.replica_line), strict=True))
        self.stack: list[Process] = []
        self._started = 0
        self._set_up()
        self.client = mlflow.MlflowClient(tracking_uri=uris[0], registry_uri=uris[0])
        self.processes = [self._start(), self._start()]
        with self.asking():
            self.experiment_id = self.client.create_experiment(self.experiment)

    def _empty(self, folder: Path) -> None:
        """Give the stores back their first files: all ids are as in a new store."""
        for scheme in SCHEMES:
            database = folder / scheme / "mlflow.db"
            template = database.with_suffix(".empty")
            database.parent.mkdir(exist_ok=True)
            store = utils._get_store(f"{scheme}://{database}")
            store.engine.dispose()
            if not template.exists():
                shutil.copy(database, template)
            shutil.copy(template, database)
            shutil.rmtree(database.parent / "artifacts", ignore_errors=True)

    def _set_up(self) -> None:
        patch, clock = self._patch, self.clock
        for module in (outbox, sync_record, abandoned_runs, run_tags):
            patch.setattr(module, "time", clock)
        patch.setattr("mlflow.utils.time.time", clock)
        dice = random.Random(0)
        patch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=dice.getrandbits(128), version=4))
        patch.setattr(outbox, "_started", self._start_thread)
        patch.setattr(outbox, "_register_leaving", lambda: None)
        for module in (catchup, metric_points, reconciler):
            patch.setattr(module, "ThreadPoolExecutor", InlineExecutor)
        patch.setattr(run_tags, "tracked_by", lambda: f"{run_tags.this_host()} {self.stack[-1].number}")
        patch.setattr(run_tags, "own_out_of_sync_tag", lambda: f"{run_tags.OUT_OF_SYNC}{self.stack[-1].number}")
        patch.setattr(abandoned_runs, "_lives", lambda number, _: any(one.number == number for one in self.processes))
        patch.setattr(logging.getLogger("adbazureml"), "disabled", True)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        self.pair.switch_on()

    def close(self) -> None:
        outbox._outboxes.clear()
        store_pair.switch_off()
        self._patch.undo()
        _lines.clear()

    def _start_thread(self, name: str, work: Callable[..., None], *arguments: Any) -> bool:
        if name == "adbazureml-abandoned":
            self.stack[-1].threads.append(partial(work, *arguments))
        return True

    def _start(self) -> Process:
        self._started += 1
        return Process(self, self._started)

    def is_over(self, process: Process) -> bool:
        return process not in self.processes

    def end(self, process: Process) -> None:
        """Put another process in the place of one that ended, without a word: it calls `track`."""
        slot = self.processes.index(process)
        self.processes[slot] = self._start()
        self.do(slot, self.processes[slot].outbox.bring_over_abandoned)

    def do(self, slot: int, act: Callable[[], object]) -> None:
        """Let a process do something; what the primary refuses it, its user sees."""
        process = self.processes[slot]
        try:
            with self._running(process):
                act()
        except Killed as killed:
            if killed.process is not process or process in self.stack:
                raise
            self.end(process)
        except (mlflow.MlflowException, OSError):
            pass

    def meanwhile(self, slot: int, act: Callable[[], object]) -> None:
        """Let a process, or another thread of the one at work, do something during a request."""
        if len(self.stack) < 2:
            self.do(slot, act)

    @contextmanager
    def _running(self, process: Process) -> Iterator[None]:
        was_inside = getattr(dual_store._inside, "write", False)
        self.stack.append(process)
        outbox._outboxes.clear()
        outbox._outboxes[self.pair] = process.outbox
        dual_store._inside.write = False
        try:
            yield
        finally:
            self.stack.pop()
            outbox._outboxes.clear()
            if self.stack:
                outbox._outboxes[self.pair] = self.stack[-1].outbox
            dual_store._inside.write = was_inside

    @contextmanager
    def asking(self) -> Iterator[None]:
        """The test itself asks the stores: nothing breaks and nothing is replicated."""
        store_pair.switch_off()
        for line in (self.primary_line, self.replica_line):
            line.is_plain = True
        try:
            yield
        finally:
            for line in (self.primary_line, self.replica_line):
                line.is_plain = False
            self.pair.switch_on()

    def mend(self) -> None:
        for line in (self.primary_line, self.replica_line):
            line.is_down = False
            line.events.clear()

    def runs(self) -> list[Run]:
        return list(self.pair.primary.search_runs([self.experiment_id], "", ViewType.ALL))

    def counterparts(self) -> list[Run]:
        found = self.pair.replica.get_experiment_by_name(self.experiment)
        return list(self.pair.replica.search_runs([found.experiment_id], "", ViewType.ALL)) if found else []


class InlineExecutor(Executor):
    """Does at once what is submitted."""

    def __init__(self, *_: object) -> None:
        pass

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


def artifacts(location: str) -> dict[str, bytes]:
    """The files of a run or a model, by path."""
    folder = Path(location.partition(":")[2])
    return {os.path.relpath(path, folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def create(world: World, slot: int, **options: Any) -> str:
    """Have a process make a run."""
    made: list[Run] = []
    world.do(slot, lambda: made.append(world.client.create_run(world.experiment_id, **options)))
    return str(made[0].info.run_id)


def work(world: World, slot: int, seconds: float = 20.0) -> None:
    """Let the threads of a process work."""
    world.do(slot, lambda: world.stack[-1].settle(seconds))


def counterparts_of(world: World, run_id: str) -> list[Run]:
    with world.asking():
        return [one for one in world.counterparts() if one.data.tags[run_tags.DATABRICKS_RUN_ID] == run_id]


def log_two_points(world: World, run_id: str) -> None:
    """Log two points and a param, and end the run."""
    world.client.log_metric(run_id, "loss", 0.5, step=0)
    world.client.log_metric(run_id, "loss", 0.25, step=1)
    world.client.log_param(run_id, "depth", 3)
    world.client.set_terminated(run_id)


def history_of(world: World, run_id: str) -> list[float]:
    """The points of the counterpart, by step."""
    (counterpart,) = counterparts_of(world, run_id)
    with world.asking():
        history = world.pair.replica.get_metric_history(counterpart.info.run_id, "loss")
    return [point.value for point in sorted(history, key=lambda point: point.step)]
