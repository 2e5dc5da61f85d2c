"""Many operations of all kinds, over a line that breaks at random: in the end both stores hold the same."""

import math
import random

import mlflow
import pytest
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities.dataset import Dataset
from mlflow.entities.dataset_input import DatasetInput
from tests.emulators.proxy import Fault
from tests.service.tracking.both import eventually

from adbazureml import catch_up
from adbazureml.tracking import flush, status


class Operations:
    """What users do to the runs of an experiment, chosen at random."""

    def __init__(self, experiment, dice, folder):
        self.client = mlflow.MlflowClient()
        self.experiment_id = self.client.get_experiment_by_name(experiment).experiment_id
        self.dice, self.folder = dice, folder
        self.counter = self.points = 0
        self.live, self.deleted, self.tags = [], [], {}
        self.create()

    def step(self):
        self.counter += 1
        often = [self.metric] * 30 + [self.batch] * 8 + [self.param] * 8 + [self.tag] * 8
        seldom = [
            self.delete_tag,
            self.create,
            self.end,
            self.resume,
            self.rename,
            self.artifact,
            self.dataset,
            self.model,
        ]
        self.dice.choice([*often, *seldom, *self.dice.sample([self.delete, self.restore, self.catch_up], 1)])()

    def run_id(self):
        return self.dice.choice(self.live)

    def value(self):
        return self.dice.choice([self.dice.random(), self.dice.random(), -self.counter, math.nan, math.inf])

    def point(self):
        # Out of order, as processes log that know nothing of each other.
        key, step = self.dice.choice("abcd"), self.dice.randrange(self.counter)
        # No point twice: MLflow's SQL stores refuse a NaN that they have already.
        self.points += 1
        return Metric(key, self.value(), 1_700_000_000_000 + self.points, step)

    def metric(self):
        point = self.point()
        self.client.log_metric(self.run_id(), point.key, point.value, point.timestamp, point.step)

    def batch(self):
        number = self.counter
        self.client.log_batch(
            self.run_id(),
            metrics=[self.point() for _ in range(self.dice.randrange(40))],
            params=[Param(f"batch{number}.{one}", str(one)) for one in range(self.dice.randrange(5))],
            tags=[RunTag(f"batch{number}", "ä\n" * self.dice.randrange(5))],
        )

    def param(self):
        self.client.log_param(self.run_id(), f"param{self.counter}", self.counter)

    def tag(self):
        run_id, key = self.run_id(), f"tag{self.dice.randrange(6)}"
        self.client.set_tag(run_id, key, self.counter)
        self.tags.setdefault(run_id, set()).add(key)

    def delete_tag(self):
        run_id = self.run_id()
        if self.tags.get(run_id):
            self.client.delete_tag(run_id, self.tags[run_id].pop())

    def create(self):
        tags = {"mlflow.parentRunId": self.run_id()} if self.live and self.dice.random() < 0.5 else {}
        run = self.client.create_run(self.experiment_id, tags=tags, run_name=f"run{self.counter}")
        self.live.append(run.info.run_id)

    def end(self):
        self.client.set_terminated(self.run_id(), self.dice.choice(["FINISHED", "FAILED", "KILLED"]))

    def resume(self):
        self.client.update_run(self.run_id(), status="RUNNING")

    def rename(self):
        self.client.update_run(self.run_id(), name=f"renamed{self.counter}")

    def artifact(self):
        self.client.log_text(self.run_id(), str(self.counter), f"folder/{self.dice.randrange(3)}.txt")

    def dataset(self):
        dataset = Dataset(f"data{self.counter}", str(self.counter), "local", "{}")
        self.client.log_inputs(self.run_id(), [DatasetInput(dataset)])

    def model(self):
        # The same name now and then, as a user's second model of a run has it.
        name, run_id = f"model{self.dice.randrange(3)}", self.run_id()
        model = self.client.create_logged_model(self.experiment_id, name, source_run_id=run_id)
        file = self.folder / f"{self.counter}.txt"
        file.write_text(str(self.counter))
        self.client.log_model_artifact(model.model_id, str(file))
        self.client.finalize_logged_model(model.model_id, "READY")

    def delete(self):
        if len(self.live) > 3:
            run_id = self.run_id()
            self.live.remove(run_id)
            self.client.delete_run(run_id)
            self.deleted.append(run_id)

    def restore(self):
        if self.deleted:
            run_id = self.deleted.pop()
            self.client.restore_run(run_id)
            self.live.append(run_id)

    def catch_up(self):
        if self.dice.random() < 0.3:
            catch_up(run_ids=[self.run_id()])


# tests/unit/tracking/test_two_stores.py does as much without a server.
@pytest.mark.full
@pytest.mark.usefixtures("soon_again")
@pytest.mark.parametrize("seed", [1, 2])
def test_random_operations_over_a_line_that_breaks(both, tmp_path, seed):
    dice = random.Random(seed)

    def choose(method, path):
        kinds = [Fault("status", status=429), Fault("status", status=500), Fault("drop"), Fault("lose")]
        return dice.choice(kinds) if dice.random() < 0.05 else None

    both.proxy.break_at_random(choose)
    operations = Operations(both.experiment, dice, tmp_path)
    for _ in range(1000):
        operations.step()
    both.proxy.mend()
    for run_id in operations.live:
        operations.client.set_terminated(run_id)
    # What a client changes in an ended run, such as a file, no store hears of.
    assert catch_up(experiment=both.experiment, verify=True).out_of_sync == ()
    # Before its next try, this process does not know that the line is mended and its work done.
    eventually(flush, seconds=120.0)
    both.assert_equal(tmp_path)
    assert status(both.experiment).out_of_sync == ()
    assert sum(run.written for run in catch_up(experiment=both.experiment, verify=True).runs) == 0
