"""The primary breaks: a user's call fails as with plain MLflow, and the replica holds what the primary holds."""

import dataclasses
import math
import random
import uuid

import mlflow
import numpy as np
import pytest
from tests.emulators.proxy import Fault, Proxy
from tests.service.tracking import training
from tests.service.tracking.both import eventually

from adbazureml import catch_up
from adbazureml.tracking import flush, status
from adbazureml.tracking.store_pair import StorePair, switch_off


@pytest.fixture(scope="module")
def line(tracking_server):
    """The way to the primary."""
    with Proxy(tracking_server.url) as proxy:
        yield proxy


@pytest.fixture
def over_line(both, line, tracking_server):
    """Mode "both", where the primary is a server behind a line of its own."""
    page = "http://page/{experiment_id}/{run_id}"
    pair = StorePair(primary_uri=line.url, primary_page=page, replica_uri=both.proxy.url, replica_page=page)
    pair.switch_on()
    mlflow.set_tracking_uri(line.url)
    experiment = uuid.uuid4().hex
    mlflow.set_experiment(experiment)
    yield dataclasses.replace(both, experiment=experiment, primary=mlflow.MlflowClient(tracking_server.url))
    line.mend()
    while mlflow.active_run():
        mlflow.end_run()
    eventually(flush, seconds=120.0)
    switch_off()


@pytest.mark.parametrize("kind", ["status", "drop"])
def test_what_the_primary_did_not_take_is_nowhere(over_line, line, tmp_path, kind):
    with mlflow.start_run():
        mlflow.log_metric("loss", 1.0, step=0)
        calls = {
            "log-metric": lambda: mlflow.log_metric("lost", 2.0),
            "log-batch": lambda: mlflow.log_metrics({"lost": 2.0}),
            "log-parameter": lambda: mlflow.log_param("lost", 2),
            "set-tag": lambda: mlflow.set_tag("lost", 2),
            "log-inputs": lambda: mlflow.log_input(mlflow.data.from_numpy(np.zeros(3)), "lost"),
            "runs/create": lambda: mlflow.start_run(nested=True),
        }
        for path, call in calls.items():
            line.break_down(kind, path=path, count=2, status=500)
            with pytest.raises(mlflow.MlflowException):
                call()
        line.mend()
        mlflow.log_metric("loss", 0.5, step=1)
    over_line.assert_equal(tmp_path)
    (run,) = over_line.counterparts()
    assert set(run.data.metrics) == {"loss"}


def test_what_the_primary_took_without_an_answer_is_in_both(over_line, line, tmp_path):
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 1.0, step=0)
        assert flush()
        line.break_down("lose", path="log-metric", count=2)
        with pytest.raises(mlflow.MlflowException):
            mlflow.log_metric("taken", 2.0)
        line.break_down("lose", path="log-parameter", count=2)
        with pytest.raises(mlflow.MlflowException):
            mlflow.log_param("taken", 2)
    over_line.assert_equal(tmp_path)
    counterpart = over_line.counterpart_of(run.info.run_id)
    assert (counterpart.data.metrics["taken"], counterpart.data.params["taken"]) == (2.0, "2")


def test_the_end_of_a_run_fails_in_the_primary(over_line, line, tmp_path):
    run = mlflow.start_run()
    mlflow.log_metric("loss", 1.0)
    line.break_down("drop", path="runs/update")
    with pytest.raises(mlflow.MlflowException):
        mlflow.end_run()
    flush()
    assert {one.info.status for one in over_line.counterparts()} == {"RUNNING"}
    line.mend()
    mlflow.MlflowClient().set_terminated(run.info.run_id)
    over_line.assert_equal(tmp_path)


@pytest.mark.full
@pytest.mark.usefixtures("soon_again")
def test_both_lines_break_at_random(over_line, line, tmp_path):
    dice = random.Random(3)

    def choose(method, path):
        # No create: a run that MLflow itself made twice is the user's own to see.
        kinds = [Fault("status", status=500), Fault("drop"), Fault("lose")]
        return dice.choice(kinds) if "create" not in path and dice.random() < 0.1 else None

    failed = 0
    with mlflow.start_run() as run:
        line.break_at_random(choose)
        over_line.proxy.break_at_random(choose)
        for step in range(150):
            try:
                dice.choice(
                    [
                        lambda: mlflow.log_metric("loss", dice.random(), step=step),  # noqa: B023
                        lambda: mlflow.log_metrics({"a": step, "odd": math.nan}, step=step),  # noqa: B023
                        lambda: mlflow.log_param(f"param{step}", step),  # noqa: B023
                        lambda: mlflow.set_tag(f"tag{step % 7}", step),  # noqa: B023
                        lambda: mlflow.log_text(str(step), f"note{step % 5}.txt"),  # noqa: B023
                    ]
                )()
            except Exception:
                failed += 1
        line.mend()
        over_line.proxy.mend()
    assert failed
    assert catch_up(run_ids=[run.info.run_id]).out_of_sync == ()
    over_line.assert_equal(tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_forks_in_mid_run(over_line, processes, tmp_path):
    """With a primary that is a server, as Databricks is: SQLite itself may hang in a fork of a process with threads."""
    process = processes(training.log_in_forks, over_line.experiment)
    process.join()
    assert process.exitcode == 0
    assert status(over_line.experiment).out_of_sync == ()
    over_line.assert_equal(tmp_path)
