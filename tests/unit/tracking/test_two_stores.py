"""Whatever is logged, breaks and dies, in whatever order: caught up, both stores hold what the limits promise.

Hypothesis chooses the steps; `two_stores` makes each sequence of them happen the same way every time.
"""

import math
from collections import defaultdict
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from hypothesis.strategies import integers, lists, sampled_from, tuples
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from tests.unit.tracking.two_stores import (
    LONGEST_PARAM,
    LONGEST_TAG,
    MOST_PARAMS,
    REFUSED,
    Killed,
    World,
    artifacts,
    broken,
)

from adbazureml import catch_up
from adbazureml.tracking import close, flush, run_tags, status

# Of what a person sets at a counterpart.
PERSONS = "person"
MOST_RUNS = 5
ENDS = ("FINISHED", "FAILED", "KILLED")


class User:
    """What users do in a process that tracks in both stores; `number` chooses among the ways of a kind."""

    def __init__(self, world, folder):
        self.world, self.client, self.folder = world, world.client, folder
        # Runs, and where each was written: processes by number.
        self.runs, self.written_by = [], defaultdict(list)
        # Whether a process ended or resumed what another one made, which may still have something waiting.
        self.is_crossed = False
        self.counter = 0

    def act(self, kind, run, number):
        """The step as something that a process does."""
        return partial(self._act, kind, run, number)

    def _act(self, kind, run, number):
        self.counter += 1
        if kind == "create" or not self.runs:
            self.create(run, number)
            return
        run_id = self.runs[run % len(self.runs)]
        self._note(run_id)
        getattr(self, kind)(run_id, number)

    def _note(self, run_id):
        self.written_by[run_id].append(self.world.stack[-1].number)

    def _note_change(self, run_id):
        writers = self.written_by[run_id]
        self.is_crossed |= writers[0] != writers[-1]

    def create(self, run, number):
        if len(self.runs) == MOST_RUNS:
            return
        tags = {"team:prices": str(number)} if number % 2 else {}
        if self.runs and number % 3 == 0:
            tags["mlflow.parentRunId"] = self.runs[run % len(self.runs)]
        name = f"{REFUSED if number % 5 == 4 else 'run'}{self.counter}"
        made = self.client.create_run(self.world.experiment_id, tags=tags, run_name=name)
        self.runs.append(made.info.run_id)
        self._note(made.info.run_id)

    def point(self, number):
        key = (*"abc", REFUSED)[number % 4]
        value = (0.5, -1.0 * self.counter, math.nan, math.inf, -math.inf)[number % 5]
        self.world.clock.advance(0.001)
        return Metric(key, value, int(self.world.clock.now * 1000), number % 7)

    def metric(self, run_id, number):
        point = self.point(number)
        self.client.log_metric(run_id, point.key, point.value, point.timestamp, point.step)

    def batch(self, run_id, number):
        self.client.log_batch(
            run_id,
            metrics=[self.point(number + one) for one in range(number % 6)],
            params=[Param(f"batch{self.counter}", "1")] if number % 2 else [],
            tags=[RunTag(f"tag{number % 3}", f"of batch {self.counter}")] if number % 3 else [],
        )

    def param(self, run_id, number):
        self.client.log_param(run_id, f"param{self.counter}", "x" * (LONGEST_PARAM + 1 if number % 5 == 4 else 1))

    def tag(self, run_id, number):
        key = ("tag0", "tag1", "tag2", "team:prices")[number % 4]
        self.client.set_tag(run_id, key, f"{self.counter}" if number % 7 else "x" * (LONGEST_TAG + 1))

    def delete_tag(self, run_id, number):
        self.client.delete_tag(run_id, ("tag0", "tag1", "tag2", "team:prices")[number % 4])

    def end(self, run_id, number):
        self._note_change(run_id)
        self.client.set_terminated(run_id, ENDS[number % 3])

    def resume(self, run_id, _):
        self._note_change(run_id)
        self.client.update_run(run_id, status="RUNNING")

    def rename(self, run_id, number):
        self.client.update_run(run_id, name=f"{REFUSED if number % 4 == 3 else 'renamed'}{self.counter}")

    def file(self, run_id, number):
        # No two of a size: what was overwritten by as many bytes is found by verify=True alone.
        file = self.folder / ("a.txt", "b.txt", f"{REFUSED}.txt")[number % 3]
        file.write_text("x" * self.counter)
        self.client.log_artifact(run_id, str(file), (None, "folder")[number % 2])

    def dataset(self, run_id, number):
        name = (f"data{number % 4}", REFUSED)[number % 5 == 4]
        dataset = Dataset(name, f"digest{number % 3}", "local", "{}")
        self.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", f"context{number}")])])

    def model(self, run_id, number):
        model = self.client.create_logged_model(self.world.experiment_id, f"model{number % 2}", source_run_id=run_id)
        file = self.folder / "MLmodel"
        file.write_text("x" * self.counter)
        self.client.log_model_artifact(model.model_id, str(file))
        self.client.finalize_logged_model(model.model_id, ("READY", "FAILED")[number % 4 == 3])

    def delete(self, run_id, _):
        self.client.delete_run(run_id)

    def restore(self, run_id, _):
        self.client.restore_run(run_id)

    def tag_experiment(self, _, number):
        self.client.set_experiment_tag(self.world.experiment_id, f"about{number % 2}", str(self.counter))

    def catch_up(self, run_id, number):
        if number % 2:
            catch_up(run_ids=[run_id], verify=number % 4 == 3)
        else:
            catch_up(experiment=self.world.experiment)

    def flush(self, _, number):
        flush(number % 10)

    def close(self, _, number):
        close(number % 10)


LOGGED = ("metric", "batch", "param", "tag", "delete_tag", "file", "dataset", "model", "rename", "tag_experiment")
LIVED = ("create", "end", "end", "end", "resume", "delete", "restore", "create")
MENDED = ("catch_up", "flush", "close")
SLOTS, RUNS, NUMBERS, REQUESTS = integers(0, 1), integers(0, 5), integers(0, 41), integers(1, 40)
SIDES = sampled_from(["replica", "replica", "primary"])


class TwoStores(RuleBasedStateMachine):
    """Two processes at the same runs."""

    folder: Path

    @initialize()
    def begin(self):
        self.world = World(self.folder)
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        self.user = User(self.world, scratch)
        self.world.do(0, self.user.act("create", 0, 1))

    def line(self, side):
        return self.world.replica_line if side == "replica" else self.world.primary_line

    @rule(slot=SLOTS, writes=lists(tuples(sampled_from(LOGGED), RUNS, NUMBERS), min_size=1, max_size=6))
    def log(self, slot, writes):
        for write in writes:
            self.world.do(slot, self.user.act(*write))

    @rule(slot=SLOTS, kind=sampled_from(LIVED), run=RUNS, number=NUMBERS)
    def live(self, slot, kind, run, number):
        self.world.do(slot, self.user.act(kind, run, number))

    @rule(slot=SLOTS, kind=sampled_from(MENDED), run=RUNS, number=NUMBERS)
    def mend(self, slot, kind, run, number):
        self.world.do(slot, self.user.act(kind, run, number))

    @rule(slot=SLOTS, kind=sampled_from(LOGGED + LIVED + MENDED), run=RUNS, number=NUMBERS, side=SIDES, after=REQUESTS)
    def meanwhile(self, slot, kind, run, number, side, after):
        def event(ask):
            self.world.meanwhile(slot, self.user.act(kind, run, number))
            return ask()

        self.plan(side, after, event)

    @rule(slot=SLOTS, choice=integers(0, 3), side=SIDES, after=REQUESTS)
    def work_meanwhile(self, slot, choice, side, after):
        def event(ask):
            self.world.meanwhile(slot, lambda: self.world.stack[-1].step(choice))
            return ask()

        self.plan(side, after, event)

    @rule(kind=sampled_from(["away", "lost", "killed", "killed after", "slow"]), side=SIDES, after=REQUESTS)
    def break_down(self, kind, side, after):
        def event(ask):
            if kind in ("lost", "killed after"):
                ask()
            if kind.startswith("killed"):
                raise Killed(self.world.stack[-1])
            if kind == "slow":
                self.world.clock.advance(31.0)
            raise broken()

        self.plan(side, after, event)

    def plan(self, side, after, event):
        line = self.line(side)
        line.events[line.requests + after] = event

    @rule()
    def the_replica_is_away(self):
        self.world.replica_line.is_down = True

    @rule()
    def the_replica_is_back(self):
        self.world.mend()

    @rule(slot=SLOTS, jobs=integers(1, 4), choice=integers(0, 3))
    def work(self, slot, jobs, choice):
        def work():
            process = self.world.stack[-1]
            for _ in range(jobs):
                if not process.step(choice) and (pause := process.next_due()) < math.inf:
                    self.world.clock.advance(pause)

        self.world.do(slot, work)

    @rule(seconds=sampled_from([0.5, 5.0, 60.0, 1000.0]))
    def time_passes(self, seconds):
        self.world.clock.advance(seconds)

    @rule(slot=SLOTS)
    def kill(self, slot):
        self.world.end(self.world.processes[slot])

    @rule(key=sampled_from(["person0", "person1"]), run=RUNS, number=NUMBERS)
    def a_person_tags_the_counterpart(self, key, run, number):
        with self.world.asking():
            if found := [one for one in self.world.counterparts() if one.info.lifecycle_stage == "active"]:
                self.world.pair.replica.set_tag(found[run % len(found)].info.run_id, RunTag(key, str(number)))

    @rule(run=RUNS)
    def a_person_deletes_the_counterpart(self, run):
        with self.world.asking():
            if found := [one for one in self.world.counterparts() if one.info.lifecycle_stage == "active"]:
                lost = found[run % len(found)]
                self.world.pair.replica.delete_run(lost.info.run_id)
                # Only a catch-up looks for it.
                self.user.written_by[lost.data.tags[run_tags.DATABRICKS_RUN_ID]].append(0)

    @rule()
    def all_is_quiet(self):
        """The replica is back and time passes: the processes that live bring over what they did, by themselves."""
        self.world.mend()
        for slot in (0, 1, 0, 1):
            self.world.do(slot, lambda: self.world.stack[-1].settle(300.0))
        for process in self.world.processes:
            assert [run for run in process.outbox._runs.values() if not run.is_idle] == []
        living = {process.number for process in self.world.processes}
        with self.world.asking():
            for run in self.world.runs():
                if living.issuperset(self.user.written_by.get(run.info.run_id, [0])):
                    check(self.world, run, is_caught_up=False)

    def teardown(self):
        if not hasattr(self, "world"):
            return
        try:
            self.world.mend()
            for process in list(self.world.processes):
                self.world.end(process)
            told = []
            self.world.do(
                0, lambda: told.append(catch_up(experiment=self.world.experiment, verify=self.user.is_crossed))
            )
            assert told[0].out_of_sync == ()
            with self.world.asking():
                for run in self.world.runs():
                    check(self.world, run, is_caught_up=True)
            self.world.do(0, lambda: told.append(catch_up(experiment=self.world.experiment, verify=True)))
            self.world.do(0, lambda: told.append(status(self.world.experiment)))
            assert sum(run.written for run in told[1].runs if not run.rejected) == 0
            assert told[2].out_of_sync == ()
        finally:
            self.world.close()


def check(world, run, *, is_caught_up):
    """Assert that a run stands in the replica once, with all that the limits promise."""
    run_id = run.info.run_id
    run = world.pair.primary.get_run(run_id)
    counterparts = [one for one in world.counterparts() if one.data.tags[run_tags.DATABRICKS_RUN_ID] == run_id]
    active = [one for one in counterparts if one.info.lifecycle_stage == "active"]
    if run.info.lifecycle_stage == "deleted":
        assert active == [], f"{run_id} is deleted"
        return
    if len(active) > 1 and run.info.status not in ENDS:
        # Two processes made one at the same moment: the end of the run leaves one.
        return
    assert len(active) == 1, f"{run_id} has {len(active)} counterparts"
    there = world.pair.replica.get_run(active[0].info.run_id)
    assert run_tags.DUPLICATE_OF not in there.data.tags
    found, wanted = look(there, like=run), look(run, like=run)
    assert found == wanted, {key: (found[key], wanted[key]) for key in found if found[key] != wanted[key]}
    check_params(run.data.params, there.data.params)
    for key in run.data.metrics:
        if REFUSED not in key:
            assert points(world.pair.replica, there, key) == points(world.pair.primary, run, key), key
    if parent := run.data.tags.get("mlflow.parentRunId"):
        over = world.pair.replica.get_run(there.data.tags["mlflow.parentRunId"])
        assert over.data.tags[run_tags.DATABRICKS_RUN_ID] == parent
        assert run_tags.DUPLICATE_OF not in over.data.tags
    if is_caught_up or run.info.status in ENDS:
        assert artifacts(there.info.artifact_uri) == files(world, run, there)
        if run.info.status in ENDS:
            assert run.data.tags[run_tags.IN_SYNC] == there.data.tags[run_tags.IN_SYNC]
            assert not [key for key in run.data.tags if key.startswith(run_tags.OUT_OF_SYNC)]


def look(run, *, like):
    refused = {key.replace(":", ".") for key, value in like.data.tags.items() if len(value) > LONGEST_TAG}
    return {
        "status": run.info.status,
        "start": run.info.start_time,
        "end": run.info.end_time,
        "name": None if REFUSED in like.info.run_name else run.info.run_name,
        "tags": {
            # A description ends in a link to the other side.
            key.replace(":", "."): value.partition("\n\n[This run in ")[0]
            for key, value in run.data.tags.items()
            if not value.startswith("[This run in ")
            and not key.startswith(("adbazureml.", PERSONS))
            and key not in ("mlflow.parentRunId", "mlflow.runName")
            and key.replace(":", ".") not in refused
        },
        "metrics": {key: repr(value) for key, value in run.data.metrics.items() if REFUSED not in key},
        "datasets": sorted(
            (one.dataset.name, one.dataset.digest, *((tag.key, tag.value) for tag in one.tags))
            for one in run.inputs.dataset_inputs
            if REFUSED not in one.dataset.name
        ),
    }


def check_params(ours, theirs):
    acceptable = {key: value for key, value in ours.items() if len(value) <= LONGEST_PARAM}
    assert theirs.items() <= acceptable.items()
    assert len(theirs) == min(len(acceptable), MOST_PARAMS)


def points(store, run, key):
    return sorted((one.step, one.timestamp, repr(one.value)) for one in store.get_metric_history(run.info.run_id, key))


def files(world, run, there):
    wanted = {path: content for path, content in artifacts(run.info.artifact_uri).items() if REFUSED not in path}
    for model in world.pair.primary.search_logged_models([world.experiment_id]):
        if model.source_run_id == run.info.run_id and str(model.status) == "READY":
            folder = there.data.tags[run_tags.COPIED_MODEL + model.model_id]
            wanted |= {f"{folder}/{path}": content for path, content in artifacts(model.artifact_location).items()}
    return wanted


def machine(folder):
    return type("TwoStores", (TwoStores,), {"folder": folder})


QUIET = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


def test_both_stores_end_equal(store_folder):
    small = settings(max_examples=5, stateful_step_count=25, derandomize=True, phases=[Phase.generate], **QUIET)
    run_state_machine_as_test(machine(store_folder), settings=small)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_both_stores_end_equal_after_thousands_of_steps(store_folder):
    large = settings(max_examples=200, stateful_step_count=50, print_blob=True, **QUIET)
    run_state_machine_as_test(machine(store_folder), settings=large)
