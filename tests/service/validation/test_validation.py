"""A new version against the one in use: what may take its place, and what may not, by whose word."""

import os
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import MetricThreshold, infer_signature
from mlflow.models.model import ModelInfo
from sklearn.linear_model import LinearRegression, LogisticRegression

from adbazureml import model_requirements, promote, register, track, validate
from adbazureml.errors import RegistryError, TableError, ValidationFailedError
from adbazureml.validation import Threshold

NAME = "validated"
SLICE_FROM = 1.0


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=400), "noise": random.normal(size=400)})
    return frame.assign(y=3 * frame["x"] + frame["noise"])


class Answers(mlflow.pyfunc.PythonModel):
    """Three times x and something, or classes of it."""

    def __init__(self, error=0.0, *, classes=False, fails=""):
        self.error, self.classes, self.fails = error, classes, fails

    def load_context(self, context):
        if self.fails == "to load":
            raise ModuleNotFoundError("No module named 'lookups'")

    def predict(self, context, model_input, params=None):
        if self.fails == "to answer":
            raise ValueError("no such column in the lookup")
        found = model_input["x"] * 3 + self.error
        if self.fails == "silently":
            return found.where(found > 0).to_numpy()
        if self.fails == "on some":
            found += np.where(model_input["x"] > SLICE_FROM, 2.0, 0)
        return np.where(found > 0, "high", "low") if self.classes else found.to_numpy()


@pytest.fixture
def version(workspace, rows):
    """Log and register a model, and return its version: a verdict is the same wherever else that one is."""
    track(workspace, mode="databricks")
    mlflow.set_experiment("/Users/ada@example.com/validated")

    def made(*args, inputs=("x",), example=None, registry="databricks", **options) -> ModelInfo:
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
        return register(run, name=NAME, registry=registry, workspace=workspace)

    return made


def test_the_first_is_judged_by_thresholds_alone(version, rows):
    first = version()
    verdict = validate(first, data=rows, label="y")
    assert (verdict.passed, verdict.champion, verdict.difference, verdict.replaces) == (True, None, None, "")
    assert str(verdict) == f"{NAME}/1 may be the first champion."
    assert verdict.metrics["mean_absolute_error"][0] == pytest.approx(np.abs(rows["noise"]).mean())
    limits = {"r2_score": MetricThreshold(0.99, min_relative_change=0.1, greater_is_better=True)}
    verdict = validate(first, data=rows, label="y", thresholds=limits)
    with pytest.raises(ValidationFailedError, match=r"validated/1 fails: r2_score 0\.\d+, at least 0.99 wanted"):
        verdict.check()


def test_better_and_as_good_may_follow_and_worse_may_not(version, workspace, rows):
    promote(version(0.5), workspace=workspace)
    better = validate(version(0.0), data=rows, label="y")
    assert better.difference[1] < 0
    assert str(better).startswith(f"{NAME}/2 may take the place of version 1: mean absolute error 0.")
    assert ", better (95 %: -" in str(better)
    promote(version(0.0), workspace=workspace, replaces=better.replaces)
    # A thousandth of the noise: nobody could tell.
    as_good = validate(version(0.001), data=rows, label="y")
    assert as_good.passed
    assert "no different beyond chance" in str(as_good)
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
    assert verdict.comparisons[0].losses[1] == 0
    assert verdict.metrics["accuracy_score"][1] == 1
    assert "share of wrong answers" in str(verdict)


def test_what_callers_send_must_still_be_taken(version, workspace, rows):
    promote(version(), workspace=workspace)
    verdict = validate(version(inputs=("x", "noise")), data=rows, label="y")
    assert "input 'noise' is new and required" in str(verdict)


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("to load", "models:/validated/2 can't be loaded: ModuleNotFoundError: No module named 'lookups'"),
        ("to answer", "models:/validated/2 fails on the rows: ValueError: no such column in the lookup"),
        ("silently", r"models:/validated/2 answers \d+ of 400 rows by no number or class"),
    ],
)
def test_a_challenger_that_fails_is_judged_and_a_champion_that_fails_stays(version, workspace, rows, fails, said):
    first = version()
    promote(first, workspace=workspace)
    failing = version(fails=fails)
    verdict = validate(failing, data=rows, label="y")
    assert (verdict.passed, verdict.metrics, verdict.comparisons, verdict.curves[:1]) == (False, {}, (), verdict.curves)
    with pytest.raises(ValidationFailedError, match=f"2 fails, version 1 stays: {said}"):
        verdict.check()
    assert verdict.plot().axes
    promote(failing, workspace=workspace)
    champion_fails = validate(first, data=rows, label="y")
    assert not champion_fails.passed
    assert str(champion_fails).endswith("so nothing was compared: install what it needs, or promote by hand.")
    assert champion_fails.metrics["r2_score"][1] is None


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


def test_classes_and_slices_that_say_nothing(version, rows):
    first = version(classes=True)
    with pytest.raises(TableError, match="label 'y': all 400 rows are 'high'; it takes rows of two classes"):
        validate(first, data=rows.assign(y="high"), label="y", task="classification")
    with pytest.raises(TableError, match="slices 'sex': data has no such column; it has x, noise, y"):
        validate(first, data=rows, label="y", slices=["sex"])
    with pytest.raises(TableError, match="slices 'noise': it has 400 values, and 50 is the most"):
        validate(first, data=rows, label="y", slices=["noise"])


def test_better_on_the_whole_and_worse_on_a_slice_is_blocked(version, workspace, rows):
    promote(version(1.0), workspace=workspace)
    new, data = version(fails="on some"), rows.assign(tail=rows["x"] > SLICE_FROM)
    whole = validate(new, data=data, label="y")
    assert (whole.passed, whole.difference[1] < 0) == (True, True)
    verdict = validate(new, data=data, label="y", slices=["tail"])
    assert [one.part for one in verdict.comparisons] == ["all rows", "tail = False", "tail = True"]
    # Of two slices, the wider interval.
    assert [one.confidence for one in verdict.comparisons] == pytest.approx([95, 97.5, 97.5])
    with pytest.raises(
        ValidationFailedError, match=r"stays: mean absolute error 1.* where tail = True, worse \(97.5 %"
    ):
        verdict.check()
    assert len(verdict.plot().axes) == 2
    few = data.assign(tail=np.arange(len(data)) < 29)
    assert len(validate(new, data=few, label="y", slices=["tail"]).comparisons) == 2


def twice_as_dear_below(labels, answers):
    """An answer that is too low costs twice as much."""
    return np.where(answers < labels, 2.0, 1.0) * np.abs(answers - labels)


def test_a_loss_and_a_metric_of_one_s_own(version, workspace, rows):
    promote(version(-0.3), workspace=workspace)
    verdict = validate(
        version(0.3),
        data=rows,
        label="y",
        loss=twice_as_dear_below,
        metrics={"too low": lambda labels, answers: (answers < labels).mean()},
        thresholds={"too low": Threshold(threshold=0.45, greater_is_better=False)},
    )
    assert (verdict.passed, verdict.loss) == (True, "twice_as_dear_below")
    assert verdict.difference[1] < 0
    assert not validate(version(-0.6), data=rows, label="y", loss=twice_as_dear_below).passed
    with pytest.raises(RegistryError, match=r"loss 'mean': it gave an array of shape \(\); a number for each of 400"):
        validate(version(), data=rows, label="y", loss=mean)
    with pytest.raises(RegistryError, match="metric 'broken' fails on labels and answers: ZeroDivisionError"):
        validate(version(), data=rows, label="y", metrics={"broken": lambda *_: 1 / 0})


def mean(labels, answers):
    return np.abs(answers - labels).mean()


def test_probabilities_are_measured_where_the_model_gives_them(version, workspace, rows):
    labelled = rows.assign(y=np.where(rows["x"] + rows["noise"] / 3 > 0, "high", "low"))
    with mlflow.start_run() as run:
        inputs = labelled[["x"]]
        fitted = LogisticRegression().fit(inputs, labelled["y"])
        signature = infer_signature(inputs, fitted.predict(inputs))
        mlflow.sklearn.log_model(fitted, name="model", signature=signature, pip_requirements=["scikit-learn"])
    first = register(run, name=NAME, workspace=workspace)
    verdict = validate(
        first, data=labelled, label="y", task="classification", thresholds={"roc_auc": Threshold(threshold=0.9)}
    )
    assert verdict.passed
    assert {"log_loss", "roc_auc"} < set(verdict.metrics)
    assert verdict.curves[0].kind == "ROC"
    promote(first, workspace=workspace)
    without = validate(version(classes=True), data=labelled, label="y", task="classification")
    assert set(without.metrics) == {"accuracy_score", "f1_score", "precision_score", "recall_score"}
    with pytest.raises(RegistryError, match="there is no metric 'roc_auc'"):
        validate(
            version(classes=True), data=labelled, label="y", task="classification", thresholds={"roc_auc": Threshold()}
        )


def test_what_needs_no_data(version, workspace, rows, databricks):
    first = version()
    asked = {"description": True, "tags": ["owner"], "size_mb": 0.000001, "latency_ms": 0.0}
    failed = {check.name for check in validate(first, data=rows, label="y", **asked).checks if not check.passed}
    assert failed == {"description", "tags", "size", "latency"}
    databricks.update_model_version(NAME, "1", "The first.")
    databricks.set_model_version_tag(NAME, "1", "owner", "ada")
    asked |= {"size_mb": 100, "latency_ms": 600_000}
    assert validate(first, data=rows, label="y", **asked).passed


def test_requirements_that_do_not_resolve_are_seen(version, rows, monkeypatch, tmp_path):
    first = version()
    monkeypatch.setenv("PATH", str(tmp_path))
    verdict = validate(first, data=rows, label="y", environment=True)
    assert "uv, which makes it, is not on the PATH: pip install uv" in str(verdict)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin")
    # Nothing resolves without an index.
    for name, value in {"UV_OFFLINE": "1", "UV_NO_CACHE": "1", "MLFLOW_ENV_ROOT": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    verdict = validate(first, data=rows, label="y", environment=True)
    assert [check.name for check in verdict.checks if not check.passed] == ["environment"]
    assert "it fails in one of its own requirements: " in str(verdict)


@pytest.mark.full
def test_a_row_is_answered_in_an_environment_of_its_own(workspace, rows, monkeypatch, tmp_path):
    track(workspace)
    mlflow.set_experiment("/Users/ada@example.com/validated")
    with mlflow.start_run() as run:
        fitted = LinearRegression().fit(rows[["x"]], rows["y"])
        signature = infer_signature(rows[["x"]], fitted.predict(rows[["x"]]))
        mlflow.sklearn.log_model(
            fitted,
            name="model",
            signature=signature,
            pip_requirements=model_requirements("scikit-learn", "pandas", "numpy"),
        )
    first = register(run, name=NAME, workspace=workspace)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MLFLOW_ENV_ROOT", str(tmp_path))
    verdict = validate(first, data=rows, label="y", environment=True)
    assert next(check for check in verdict.checks if check.name == "environment").passed, str(verdict)


def test_in_a_dry_run_nothing_is_blocked_and_disabled_nothing_is_looked_at(version, workspace, rows):
    promote(version(), workspace=workspace)
    worse = version(1.0)
    dry = validate(worse, data=rows, label="y", mode="dry_run")
    dry.check()
    assert (dry.passed, dry.blocks) == (False, False)
    assert str(dry).startswith("validated/2 would fail; this is a dry run: mean absolute error")
    off = validate(worse, data=rows.head(0), label="y", mode="disabled")
    off.check()
    assert (off.checks, off.blocks, off.replaces, off.state) == ((), False, "1", "disabled")
    assert str(off) == "validated/2 was not validated, as validation is disabled."


def test_the_version_tells_its_verdict_in_both_registries(version, workspace, rows, databricks, azureml):
    track(workspace)
    promote(version(registry="both"), workspace=workspace)
    worse = version(1.0, registry="both")
    databricks.update_model_version(NAME, "2", "Trained on Monday.")
    asked = {"data": rows, "label": "y"}
    with mlflow.start_run() as run:
        validate(worse, size_mb=0.000001, **asked).write_to(worse, workspace=workspace)
    for client in (databricks, azureml):
        tags = client.get_model_version(NAME, "2").tags
        assert (tags["adbazureml_validation"], tags["adbazureml_validation_against"]) == ("failed", f"models:/{NAME}/1")
        assert tags["adbazureml_check_against_the_champion"].startswith("failed: mean absolute error")
        assert (tags["adbazureml_check_signature"], tags["adbazureml_validation_run"]) == ("passed", run.info.run_id)
        assert "adbazureml_check_size" in tags
    validate(worse, tolerance=1.0, **asked).write_to(worse, workspace=workspace)
    for client, before in ((databricks, "Trained on Monday.\n\n"), (azureml, "")):
        found = client.get_model_version(NAME, "2")
        assert found.tags["adbazureml_validation"] == "passed"
        assert not {"adbazureml_check_size", "adbazureml_validation_run"} & set(found.tags)
        assert found.description.startswith(f"{before}Validation: {NAME}/2 may take the place of version 1: mean abs")


def test_a_threshold_of_no_metric(version, rows):
    with pytest.raises(RegistryError, match="thresholds: there is no metric 'rmse'; there are mean_absolute"):
        validate(version(), data=rows, label="y", thresholds={"rmse": MetricThreshold(1, greater_is_better=False)})


def test_a_version_or_a_champion_that_is_not_there(version, workspace, rows, databricks):
    with pytest.raises(RegistryError, match="version 'models:/validated/9': there is no such registered version"):
        validate("models:/validated/9", data=rows, label="y")
    promote(version(), workspace=workspace)
    databricks.delete_model_version(NAME, "1")
    assert validate(version(), data=rows, label="y").champion is None


def test_both_tracking_stores_get_it(version, workspace, rows, databricks, azureml):
    track(workspace)
    promote(version(0.5), workspace=workspace)
    verdict = validate(version(), data=rows, label="y")
    with mlflow.start_run(run_name="validate") as run:
        verdict.log()
    logged = databricks.get_run(run.info.run_id).data
    assert logged.metrics["challenger_r2_score"] > logged.metrics["champion_r2_score"]
    assert logged.tags["validation"] == "passed"
    assert logged.tags["adbazureml.stage"] == "validate"
    # The link to the counterpart may follow.
    assert logged.tags["mlflow.note.content"].startswith(str(verdict))
    model = databricks.get_logged_model(databricks.get_model_version(NAME, "2").tags["adbazureml_model"])
    assert {one.key for one in model.metrics} >= {"challenger_r2_score"}
    assert {one.path for one in databricks.list_artifacts(run.info.run_id)} == {"validation.html", "validation.png"}
