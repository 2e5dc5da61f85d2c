"""All rows scored again, beside and behind streams: what dies, races or fails on the way loses and doubles nothing."""

import time

import mlflow
import pytest
from tests.spark.scoring.growing import grow, held
from tests.spark.scoring.times import Times

from adbazureml import runtime
from adbazureml.errors import ScoringError, TableError
from adbazureml.scoring import batch, exactly_once, score


def test_an_empty_day_scored_in_full_leaves_what_is_there(spark, source, times, into, folder):
    how = {"table": source, "model": times, "into": into, "checkpoints": folder, "mode": "full"}
    score(**how)
    assert score(where="x > 100", **how).rows == 0
    assert held(into) == [("1", 1, 2), ("1", 2, 4)]


def test_a_model_whose_name_is_sql_erases_no_other_models_predictions(source, times, into, folder):
    name = "a' OR model_uri LIKE '%"
    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            python_model=Times(5), name="model", registered_model_name=name, pip_requirements=["mlflow"]
        )
    how = {"table": source, "into": into, "checkpoints": folder, "mode": "full", "columns": ["x"]}
    score(model=times, **how)
    for _ in range(2):
        score(model=f"models:/{name}/1", **how)
    predicted = [row["model_name"] for row in runtime.table(into).collect()]
    assert sorted(predicted) == [name, name, "times", "times"]


def test_a_stream_that_begins_behind_a_rescore_waits_for_the_first_row(spark, source, times, into, folder):
    how = {"table": source, "model": times, "into": into, "checkpoints": folder}
    score(**how, mode="full")
    stream = score(**how, mode="stream")
    try:
        stream.catch_up()
        assert stream.running
        assert stream.rows == 0
        grow(spark, source, 3)
        stream.catch_up()
        assert stream.rows == 1
    finally:
        stream.stop()
    assert not stream.running
    assert [row[1:] for row in held(into)] == [(1, 2), (2, 4), (3, 6)]


@pytest.mark.parametrize(
    ("where", "step"),
    [
        pytest.param(exactly_once, "write_once", id="fence", marks=pytest.mark.full),
        pytest.param(exactly_once, "version_of", id="version", marks=pytest.mark.full),
        pytest.param(exactly_once.Checkpoints, "_note", id="note"),
        pytest.param(batch, "rescore", id="transaction"),
        pytest.param(exactly_once.Checkpoint, "mark_scored", id="mark", marks=pytest.mark.full),
    ],
)
def test_a_rescore_that_dies_before_a_step(spark, source, times, into, folder, monkeypatch, where, step):
    how = {"table": source, "model": times, "into": into, "checkpoints": folder}
    score(**how)
    monkeypatch.setattr(exactly_once, "_PATIENCE_SECONDS", 0.0)

    def die(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(where, step, die)
        with pytest.raises(KeyboardInterrupt):
            score(**how, mode="full")
    grow(spark, source, 3)
    # The next run does what was begun, unless it is done, then goes on.
    score(**how)
    assert [row[1:] for row in held(into)] == [(1, 2), (2, 4), (3, 6)]
    assert score(**how).rows == 0


def test_a_rescore_shuts_out_the_stream_of_another_version(spark, source, times, into, folder, monkeypatch):
    how = {"table": source, "into": into, "checkpoints": folder}
    stream = score(**how, model="models:/times/2", mode="stream")
    reserve = exactly_once._reserve

    def and_the_stream_goes_on(*arguments):
        number = reserve(*arguments)
        grow(spark, source, 3)
        deadline = time.monotonic() + 60
        while ("2", 3, 9) not in held(into):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        return number

    try:
        stream.catch_up()
        monkeypatch.setattr(exactly_once, "_reserve", and_the_stream_goes_on)
        assert score(**how, model=times, mode="full").rows == 3
        with pytest.raises(ScoringError, match=r"Another job began to score .* in full"):
            stream.wait(60)
    finally:
        stream.stop()
    grow(spark, source, 4)
    assert score(**how, model="models:/times/2").rows == 1
    twos = [("2", x, 3 * x) for x in (1, 2, 3, 4)]
    assert held(into) == [("1", 1, 2), ("1", 2, 4), ("1", 3, 6), *twos]


def test_another_table_of_that_name_is_told_behind_a_rescore_too(spark, source, times, into, folder):
    how = {"table": source, "model": times, "into": into, "checkpoints": folder}
    score(**how, mode="full")
    runtime.drop_table(source)
    grow(spark, source, 7)
    with pytest.raises(TableError, match=r"it was replaced by another table.*'full'"):
        score(**how)
    assert score(**how, mode="full").rows == 1
    assert held(into) == [("1", 7, 14)]


def test_a_stream_goes_on_and_a_run_goes_on_from_it(spark, source, times, into, folder):
    how = {"table": source, "model": times, "into": into, "checkpoints": folder}
    stream = score(**how, mode="stream")
    try:
        stream.catch_up()
        assert stream.running
        assert stream.rows == 2
        grow(spark, source, 3)
        stream.catch_up()
        assert stream.rows == 3
        assert "3 rows, running" in stream._repr_html_()
    finally:
        stream.stop()
    assert not stream.running
    grow(spark, source, 4)
    assert score(**how).rows == 1
    assert [row[1:] for row in held(into)] == [(1, 2), (2, 4), (3, 6), (4, 8)]


def test_a_model_that_fails_stops_the_stream_with_its_reason(spark, source, times, into, folder):
    stream = score(table=source, model=times, into=into, checkpoints=folder, mode="stream")
    try:
        stream.catch_up()
        grow(spark, source, 13)
        with pytest.raises(ScoringError, match="13 is not for me"):
            stream.wait(60)
    finally:
        stream.stop()
    assert len(held(into)) == 2
