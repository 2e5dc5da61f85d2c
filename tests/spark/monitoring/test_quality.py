"""Quality once labels come: joined in Spark, each once."""

import mlflow
import numpy as np
import pandas as pd
import pytest

from adbazureml import quality, quality_baseline, runtime
from adbazureml.errors import SettingsError, TableError

ROWS = 240


@pytest.fixture(scope="module")
def predictions():
    """Of two versions on three days; the second one's are wrong from the second day on."""
    random = np.random.default_rng(1)
    truth = random.normal(10, 2, ROWS)
    error = random.normal(size=ROWS)
    day = np.arange(ROWS) * 3 // ROWS
    common = {
        "id": np.arange(ROWS),
        "sex": np.where(np.arange(ROWS) % 2, "f", "m"),
        "scored_at": pd.Timestamp("2026-11-21 06:00") + pd.to_timedelta(day, unit="D"),
        "model_name": "prices",
    }
    one = pd.DataFrame({**common, "prediction": truth + error, "model_version": "1", "model_uri": "models:/prices/1"})
    other = one.assign(prediction=truth + error + np.where(day, 5, 0), model_version="2", model_uri="models:/prices/2")
    return pd.concat([one, other], ignore_index=True), pd.DataFrame({"id": np.arange(ROWS), "price": truth}), error


def test_each_version_by_day_and_slice_against_training(spark, predictions):
    rows, labels, error = predictions
    held_out = pd.DataFrame({"price": labels["price"], "prediction": labels["price"] + error})
    before = quality_baseline(held_out, label="price")
    assert before.losses.mean == pytest.approx(np.abs(error).mean())
    report = quality(rows, labels=labels, on=["id"], baseline=before, slices=["sex"])
    first, second = report.versions
    assert (first.version, second.version) == ("prices/1", "prices/2")
    assert [day.part for day in first.days] == ["2026-11-21", "2026-11-22", "2026-11-23"]
    assert [part.part for part in second.slices] == ["sex = f", "sex = m"]
    value = first.whole.metrics("regression")["root_mean_squared_error"][0]
    assert value == pytest.approx(np.sqrt(np.square(error).mean()))
    assert first.days[1].losses.mean == pytest.approx(np.abs(error[80:160]).mean())
    assert (first.fallen_since, second.fallen_since) == (None, "2026-11-22")
    assert report.fallen == ("prices/2",)


def test_labels_are_joined_as_they_come_each_once(spark, predictions):
    rows, labels, _ = predictions
    how = {"on": ["id"], "into": "quality_kept"}
    try:
        assert str(quality(rows, labels=labels.head(0), **how)) == "No label has come yet for any prediction."
        for known in (100, 100, 180):
            report = quality(rows, labels=labels.head(known), **how)
            assert [one.whole.losses.rows for one in report.versions] == [known, known]
        assert runtime.table("quality_kept").count() == 360
        # What is kept needs no label again.
        report = quality(rows, labels=labels.tail(ROWS - 180), **how)
        assert [one.whole.losses.rows for one in report.versions] == [ROWS, ROWS]
        with pytest.raises(TableError, match="'quality_kept' has other columns"):
            quality(rows, labels=labels, slices=["sex"], **how)
    finally:
        runtime.drop_table("quality_kept")


def test_classes_are_equal_however_they_are_spelled(spark):
    labels = pd.DataFrame({"ID": [1, 2, 3, 4], "ill": [True, False, True, None]})
    said = pd.DataFrame({"id": [1, 2, 3, 4], "prediction": ["1", "0", "0.0", "1"]})
    report = quality(said, labels=labels, on=["id"])
    assert report.task == "classification"
    assert report.versions[0].whole.metrics("classification")["accuracy_score"][0] == pytest.approx(2 / 3)


def test_the_quality_at_training_is_found_by_the_model_and_only_its_version_is_compared(
    spark, predictions, tmp_path, monkeypatch, log_model
):
    rows, labels, error = predictions
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    try:
        mlflow.set_experiment(experiment_id=mlflow.create_experiment("quality", (tmp_path / "artifacts").as_uri()))
        with mlflow.start_run():
            held_out = labels.assign(prediction=labels["price"] + error)
            quality_baseline(held_out, label="price").log()
            log_model(registered_model_name="prices")
        report = quality(rows, labels=labels, on=["id"], baseline="models:/prices/1")
        assert [one.training is None for one in report.versions] == [False, True]
        with mlflow.start_run() as run:
            report.log()
        client = mlflow.MlflowClient()
        assert client.get_run(run.info.run_id).data.metrics["quality_rows/prices_1"] == ROWS
        history = client.get_metric_history(run.info.run_id, "quality_mean_absolute_error_of_day/prices_2")
        assert [point.step for point in history] == [0, 1, 2]
        assert {one.path for one in client.list_artifacts(run.info.run_id)} == {"quality.csv", "quality.png"}
    finally:
        mlflow.set_tracking_uri(before)


def test_what_is_wrong_is_named(spark, predictions):
    rows, labels, _ = predictions
    with pytest.raises(TableError, match="some rows have two labels or more; id must tell them apart"):
        quality(rows, labels=pd.concat([labels, labels.head(1)]), on=["id"])
    with pytest.raises(TableError, match=r"label: 2 columns of labels may be it \(price, other\)"):
        quality(rows, labels=labels.assign(other=1.0), on=["id"])
    with pytest.raises(TableError, match="on: none given"):
        quality(rows, labels=labels, on=[])
    with pytest.raises(TableError, match=r"on \(in predictions\) needs 'key'"):
        quality(rows, labels=labels.rename(columns={"id": "key"}), on=["key"])
    with pytest.raises(TableError, match="slices 'id': it has 240 values, and 50 is the most"):
        quality(rows, labels=labels, on=["id"], slices=["id"])
    with pytest.raises(SettingsError, match="tolerance: -1"):
        quality(rows, labels=labels, on=["id"], tolerance=-1)
    with pytest.raises(TableError, match="rows: 0 have 'price' and 'prediction'"):
        quality_baseline(labels.assign(prediction=np.nan), label="price")
