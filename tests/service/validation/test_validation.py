"""A new version against the one in use: what may take its place, and what may not, by whose word."""

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import MetricThreshold, infer_signature
from mlflow.models.model import ModelInfo

from adbazureml import promote, register, track, validate
from adbazureml.errors import RegistryError, TableError, ValidationFailedError

NAME = "validated"


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=400), "noise": random.normal(size=400)})
    return frame.assign(y=3 * frame["x"] + frame["noise"])


class Answers(mlflow.pyfunc.PythonModel):
    """Three times x and something, or classes of it."""

    def __init__(self, error=0.0, *, classes=False, fails=False):
        self.error, self.classes, self.fails = error, classes, fails

    def predict(self, context, model_input, params=None):
        if self.fails:
            raise ValueError("no such column in the lookup")
        found = model_input["x"] * 3 + self.error
        return np.where(found > 0, "high", "low") if self.classes else found.to_numpy()


@pytest.fixture
def version(workspace, rows):
    """Log and register a model, and return its version."""
    track(workspace)
    mlflow.set_experiment("/Users/ada@example.com/validated")

    def made(*args, inputs=("x",), example=None, **options) -> ModelInfo:
        model = Answers(*args, **options)
        answers = np.array(["low"]) if options.get("classes") else np.array([1.5])
        with mlflow.start_run() as run:
            mlflow.pyfunc.log_model(
                name="model",
                python_model=model,
                signature=infer_signature(rows[list(inputs)], answers),
                input_example=example,
                pip_requirements=["pandas"],
            )
        return register(run, name=NAME, workspace=workspace)

    return made


def test_the_first_is_judged_by_thresholds_alone(version, rows):
    first = version()
    verdict = validate(first, data=rows, label="y")
    assert (verdict.passed, verdict.champion, verdict.difference, verdict.replaces) == (True, None, None, "")
    assert str(verdict) == f"{NAME}/1 may be the first champion."
    assert verdict.metrics["mean_absolute_error"][0] == pytest.approx(np.abs(rows["noise"]).mean())
    limits = {"r2_score": MetricThreshold(0.99, greater_is_better=True)}
    verdict = validate(first, data=rows, label="y", thresholds=limits)
    with pytest.raises(ValidationFailedError, match=r"validated/1 fails: r2_score 0\.\d+, at least 0.99 wanted"):
        verdict.check()


def test_better_and_as_good_may_follow_and_worse_may_not(version, workspace, rows):
    promote(version(0.5), workspace=workspace)
    better = validate(version(0.0), data=rows, label="y")
    assert better.difference[1] < 0
    assert str(better) == f"{NAME}/2 may take the place of version 1."
    promote(version(0.0), workspace=workspace, replaces=better.replaces)
    # A thousandth of the noise: nobody could tell.
    as_good = validate(version(0.001), data=rows, label="y")
    assert as_good.passed
    assert "no different beyond chance" in as_good._repr_html_()
    worse = validate(version(0.5), data=rows, label="y")
    with pytest.raises(ValidationFailedError, match=r"5 fails, version 3 stays: mean abs.* by more than 2%"):
        worse.check()
    assert worse.difference[0] > 0
    tolerated = validate(version(0.5), data=rows, label="y", tolerance=0.5)
    assert tolerated.passed


def test_on_few_rows_chance_blocks_nobody(version, workspace, rows):
    promote(version(0.0), workspace=workspace)
    assert validate(version(0.3), data=rows.head(8), label="y").passed
    assert not validate(version(0.3), data=rows, label="y").passed


def test_classes(version, workspace, rows):
    labelled = rows.assign(y=np.where(rows["x"] > 0, "high", "low"))
    promote(version(classes=True), workspace=workspace)
    verdict = validate(version(2.0, classes=True), data=labelled, label="y", task="classification")
    assert not verdict.passed
    assert verdict.losses[1] == 0
    assert verdict.metrics["accuracy_score"][1] == 1
    assert "share of wrong answers" in str(verdict)


def test_what_callers_send_must_still_be_taken(version, workspace, rows):
    promote(version(), workspace=workspace)
    verdict = validate(version(inputs=("x", "noise")), data=rows, label="y")
    assert "input 'noise' is new and required" in str(verdict)


def test_a_model_that_fails_is_told(version, workspace, rows):
    promote(version(), workspace=workspace)
    with pytest.raises(ValidationFailedError, match=r"fails on the rows: .*no such column in the lookup"):
        validate(version(fails=True), data=rows, label="y")


@pytest.mark.parametrize(
    ("data", "label", "said"),
    [
        (lambda rows: rows, "z", "label 'z': data has no such column; it has x, noise, y"),
        (lambda rows: rows.assign(y=np.nan), "y", "no row of data has one"),
        (lambda rows: rows.head(0), "y", "no row of data has one"),
        (lambda rows: rows.drop(columns="x"), "y", "data lacks 'x', which 'models:/validated/1' takes"),
    ],
)
def test_rows_that_say_nothing(version, rows, data, label, said):
    with pytest.raises(TableError, match=said):
        validate(version(), data=data(rows), label=label)


def test_a_threshold_of_no_metric(version, rows):
    with pytest.raises(RegistryError, match="thresholds: 'rmse' is no metric of a regression; there are mean_absolute"):
        validate(version(), data=rows, label="y", thresholds={"rmse": MetricThreshold(1, greater_is_better=False)})


def test_a_version_or_a_champion_that_is_not_there(version, workspace, rows, databricks):
    with pytest.raises(RegistryError, match="'models:/validated/9' can't be loaded"):
        validate("models:/validated/9", data=rows, label="y")
    promote(version(), workspace=workspace)
    databricks.delete_model_version(NAME, "1")
    assert validate(version(), data=rows, label="y").champion is None


def test_both_tracking_stores_get_it(version, workspace, rows, databricks, azureml):
    promote(version(0.5), workspace=workspace)
    verdict = validate(version(), data=rows, label="y")
    with mlflow.start_run(run_name="validate") as run:
        verdict.log()
    logged = databricks.get_run(run.info.run_id).data
    assert logged.metrics["challenger_r2_score"] > logged.metrics["champion_r2_score"]
    assert logged.tags["validation"] == "passed"
    assert {one.path for one in databricks.list_artifacts(run.info.run_id)} == {"validation.html", "validation.png"}
