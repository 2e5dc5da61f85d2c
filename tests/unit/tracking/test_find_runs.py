"""Which run a notebook works on: handed on, or found in the experiment, whatever a team calls its own."""

import mlflow
import pytest

from adbazureml import find_runs, track
from adbazureml.errors import TrackingError

EXPERIMENT = "/Users/ada@example.com/runs"


@pytest.fixture
def trained(workspace, log_model):
    """Make a finished run, with a model or without."""
    track(workspace)
    mlflow.set_experiment(EXPERIMENT)

    def train(name, model=None):
        with mlflow.start_run(run_name=name) as run:
            if model:
                log_model(model)
        return run.info.run_id

    return train


def found(run_id="", spark_run_id=""):
    return tuple(run and run.info.run_id for run in find_runs(run_id, spark_run_id, experiment=EXPERIMENT))


def test_the_newest_finished_run_that_logged_a_model_whatever_it_is_called(trained):
    trained("sklearn", "model")
    newest = trained("gradient boosting", "model")
    trained("monitor")
    trained("another", "tokenizer")
    with pytest.raises(ZeroDivisionError), mlflow.start_run():
        raise ZeroDivisionError
    assert found() == (newest, None)


def test_a_spark_ml_run_counts_only_where_it_followed_the_other(trained):
    trained("spark-ml")
    run = trained("sklearn", "model")
    assert found() == (run, None)
    spark_run = trained("spark-ml")
    trained("monitor")
    assert found() == (run, spark_run)


def test_of_a_run_that_is_given_there_is_no_spark_ml_run_but_one_that_is_given_too(trained):
    run, spark_run = trained("sklearn", "model"), trained("spark-ml")
    assert found(run) == (run, None)
    assert found(run, spark_run) == (run, spark_run)
    assert found(spark_run_id=spark_run) == (run, spark_run)


def test_no_run_is_said_with_what_to_do(trained):
    with pytest.raises(
        TrackingError, match=r"run_id is empty, and experiment .* has no finished run that logged a model"
    ):
        found()
    trained("monitor")
    with pytest.raises(TrackingError, match="train one first, as 03_train_and_log does, or give run_id"):
        found()
    for given in ({"run_id": "0" * 32}, {"run_id": trained("sklearn", "model"), "spark_run_id": "0" * 32}):
        with pytest.raises(TrackingError, match=r"run_id '0+': there is no such run"):
            found(**given)
