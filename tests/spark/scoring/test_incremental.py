"""A table that grows, and what may happen to it, its model and its checkpoint between two runs."""

import shutil
from pathlib import Path

import pytest
from tests.spark.scoring.growing import grow, held

from adbazureml import runtime
from adbazureml.errors import ScoringError, SettingsError, TableError
from adbazureml.monitoring import profile
from adbazureml.scoring import score
from adbazureml.scoring.stream import Batches
from adbazureml.text import identifier


def test_each_run_scores_what_is_new_with_the_version_of_the_day(spark, source, times, into, folder):
    def run(model, **options):
        return score(table=source, model=model, into=into, checkpoints=folder, **options).rows

    assert run(times) == 2
    assert run(times) == 0
    grow(spark, source, 3)
    assert run("models:/times/2") == 1
    assert held(into) == [("1", 1, 2), ("1", 2, 4), ("2", 3, 9)]
    # Side by side by choice; the old version's rows stay, and the next run goes on from here.
    assert run("models:/times/2", mode="full") == 3
    assert held(into) == [("1", 1, 2), ("1", 2, 4), ("2", 1, 3), ("2", 2, 6), ("2", 3, 9)]
    grow(spark, source, 4)
    assert run("models:/times/2") == 1
    assert held(into)[-1] == ("2", 4, 12)
    assert len(held(into)) == 6


def test_a_version_that_finds_nothing_new_is_no_error(spark, source, times, into, folder):
    how = {"table": source, "into": into, "checkpoints": folder}
    score(model=times, **how)
    done = score(model="models:/times/2", **how)
    assert (done.rows, done.held, done.total) == (0, 0, 2)
    assert str(done) == f"Nothing new to score in {source}; {into}, column prediction holds 2 rows."
    assert "Nothing new" in done._repr_html_()
    # The picture shows what the table holds instead.
    axes = done.histogram().axes[0]
    assert axes.get_title() == "2 predictions of times, all versions"
    assert axes.patches[0].get_data()[0].sum() == 2
    done.show()


@pytest.mark.parametrize("mode", ["incremental", "full"])
def test_a_table_without_rows_is_no_error(spark, source, times, into, folder, mode):
    how = {"table": source, "model": times, "into": into, "checkpoints": folder, "mode": mode}
    done = score(where="x > 100", **how)
    assert (done.rows, done.total) == (0, 0)
    assert done.histogram().axes[0].get_title() == "0 predictions of times, all versions"
    done.show()


def test_any_column_name_is_carried_along(spark, source, times, into, folder):
    """Spaces, brackets, dots, commas and backticks: in the table, the keys and what is kept."""
    names = ["sepal length (cm)", "a.b", "x,y;{z}", "it`s", "x"]
    columns = ", ".join(f"double({value}) AS {identifier(name)}" for value, name in enumerate(names))
    odd = f"{source}_odd"
    spark.sql(f"CREATE TABLE {odd} USING delta TBLPROPERTIES ('delta.columnMapping.mode' = 'name') AS SELECT {columns}")
    try:
        how = {"table": odd, "where": "`a.b` > 0", "into": into, "checkpoints": folder}
        assert score(model=times, **how).rows == 1
        assert score(model=times, mode="full", **how).rows == 1
        row = runtime.table(into).first().asDict()
        assert [row[name] for name in names] == [0, 1, 2, 3, 4]
        assert row["prediction"] == 8
        for name in ("sepal length (cm)", "a.b"):
            assert profile(runtime.table(odd), columns=[name]).columns[0].binned.name == name
    finally:
        runtime.drop_table(odd)


def test_a_blank_condition_is_none(source, times, into, folder):
    assert score(table=source, where=" ", model=times, into=into, checkpoints=folder).rows == 2


def test_a_batch_that_dies_before_or_after_its_rows_are_written(source, times, into, folder, monkeypatch):
    """As a process that is killed there: what it wrote stays, and the checkpoint does not know of the batch."""
    how = {"table": source, "model": times, "into": into, "checkpoints": folder}

    def fail(*arguments):
        raise OSError("the driver is gone")

    for step, left, rest in (("_write", [], 2), ("_check_last", [("1", 1, 2), ("1", 2, 4)], 0)):
        how["into"] = f"{into}{step}"
        with monkeypatch.context() as patch:
            patch.setattr(Batches, step, fail)
            with pytest.raises(ScoringError, match="the driver is gone"):
                score(**how)
        assert held(how["into"]) == left
        assert score(**how).rows == rest
        assert held(how["into"]) == [("1", 1, 2), ("1", 2, 4)]
        runtime.drop_table(how["into"])


def test_another_condition_is_not_mixed_in(spark, source, times, into, folder):
    how = {"table": source, "model": times, "into": into, "checkpoints": folder}
    assert score(**how, where="x < 2 AND 'it\\'s' = 'it\\'s'").rows == 1
    with pytest.raises(TableError, match=r"where: 'x >= 2' is not .*x < 2.*rows passed over"):
        score(**how, where="x >= 2")
    assert score(**how, where="x >= 2", mode="full").rows == 1
    assert held(into) == [("1", 2, 4)]
    assert score(**how, where="x >= 2").rows == 0


def test_a_missing_checkpoint_is_told_with_the_way_out(source, times, into, folder):
    how = {"table": source, "model": times, "into": into, "checkpoints": folder}
    score(**how)
    shutil.rmtree(folder)
    with pytest.raises(TableError, match=r"checkpoints: .* is gone\. .*mode 'full'"):
        score(**how)
    assert len(held(into)) == 2
    assert score(**how, mode="full").rows == 2
    assert score(**how).rows == 0
    assert held(into) == [("1", 1, 2), ("1", 2, 4)]


def test_a_corrupt_checkpoint_is_told_and_doubles_nothing(spark, source, times, into, folder):
    how = {"table": source, "model": times, "into": into, "checkpoints": folder}
    score(**how)
    grow(spark, source, 3)
    for path in Path(folder).glob("*/1/offsets/0"):
        path.write_text("{")
        path.with_name(f".{path.name}.crc").unlink(missing_ok=True)
    with pytest.raises(ScoringError, match=r"If it is the checkpoint .* damaged, .*'full'"):
        score(**how)
    assert len(held(into)) == 2
    assert score(**how, mode="full").rows == 3
    assert held(into) == [("1", 1, 2), ("1", 2, 4), ("1", 3, 6)]


def test_a_folder_that_cannot_be_written(source, times, into, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"checkpoints: .*can't be written"):
        score(table=source, model=times, into=into, checkpoints=str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE {} SET x = 5 WHERE x = 1", "rows of it were changed"),
        # In a file of its own.
        pytest.param("DELETE FROM {} WHERE x = 3", "rows of it were deleted", marks=pytest.mark.full),
        ("CREATE OR REPLACE TABLE {} USING delta AS SELECT 7D AS x", "it was replaced by another table"),
    ],
)
def test_rows_that_were_changed_are_told_with_the_way_out(spark, source, times, into, folder, change, said):
    how = {"table": source, "model": times, "into": into, "checkpoints": folder}
    grow(spark, source, 3)
    score(**how)
    spark.sql(change.format(source))
    with pytest.raises((TableError, ScoringError), match=rf"{said}.*'full'"):
        score(**how)
    assert held(into) == [("1", 1, 2), ("1", 2, 4), ("1", 3, 6)]
    score(**how, mode="full")
    now = sorted(row["x"] for row in spark.table(source).collect())
    assert held(into) == [("1", x, 2 * x) for x in now]


def test_columns_that_are_dropped_and_change_their_type(spark, source, times, into, folder):
    how = {"table": source, "model": times, "into": into, "checkpoints": folder, "keep": ["x"]}
    spark.sql(f"ALTER TABLE {source} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")
    spark.sql(f"ALTER TABLE {source} ADD COLUMNS (y STRING, n INT)")
    score(**how)
    spark.sql(f"ALTER TABLE {source} DROP COLUMN y")
    with pytest.raises(TableError, match=r"columns of it were dropped, renamed or changed their type.*'full'"):
        score(**how)
    assert score(**how, mode="full").rows == 2
    spark.sql(f"ALTER TABLE {source} SET TBLPROPERTIES ('delta.enableTypeWidening' = 'true')")
    spark.sql(f"ALTER TABLE {source} ALTER COLUMN n TYPE BIGINT")
    spark.sql(f"INSERT INTO {source} VALUES (3, 1)")
    # Nothing was streamed in the old type yet.
    assert score(**how).rows == 1
    assert score(**how).rows == 0
    assert held(into) == [("1", 1, 2), ("1", 2, 4), ("1", 3, 6)]


def test_the_predictions_follow_columns_that_come_and_widen(spark, source, times, into, folder, monkeypatch):
    how = {"table": source, "model": times, "into": into, "checkpoints": folder}
    score(**how)
    spark.sql(f"ALTER TABLE {source} ADD COLUMN n INT")
    spark.sql(f"INSERT INTO {source} VALUES (3, 1)")
    assert score(**how, keep=["x"]).rows == 1

    def die(*arguments):
        raise OSError("the driver is gone")

    # Killed when the columns are there, and no row is.
    spark.sql(f"INSERT INTO {source} VALUES (4, 2)")
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "_write", die)
        with pytest.raises(ScoringError, match="the driver is gone"):
            score(**how)
    assert len(held(into)) == 3
    assert score(**how).rows == 1
    spark.sql(f"ALTER TABLE {source} SET TBLPROPERTIES ('delta.enableTypeWidening' = 'true')")
    spark.sql(f"ALTER TABLE {source} ALTER COLUMN n TYPE BIGINT")
    spark.sql(f"INSERT INTO {source} VALUES (5, {2**40})")
    assert score(**how).rows == 1
    found = {row["x"]: row["n"] for row in spark.table(into).collect()}
    assert found == {1: None, 2: None, 3: None, 4: 2, 5: 2**40}
    with pytest.raises(TableError, match=r"n is not among the columns to write\..*keep="):
        score(**how, keep=["x"])
    spark.sql(f"ALTER TABLE {source} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")
    spark.sql(f"ALTER TABLE {source} RENAME COLUMN x TO z")
    with pytest.raises(TableError, match="needs 'x', which the rows to score lack"):
        score(**how)
    assert [(x, prediction) for _, x, prediction in held(into)] == [(x, 2 * x) for x in (1, 2, 3, 4, 5)]


def test_an_empty_table_waits_for_its_first_row(spark, times, into, folder, source):
    spark.sql(f"DELETE FROM {source}")
    how = {"table": source, "model": times, "into": into, "checkpoints": folder}
    assert score(**how).rows == 0
    grow(spark, source, 5)
    assert score(**how).rows == 1
    assert held(into) == [("1", 5, 10)]


def test_only_what_is_delta_can_be_followed(spark, source, times, into):
    spark.sql(f"CREATE OR REPLACE TEMPORARY VIEW looked_at AS SELECT * FROM {source}")
    for table, said in (("looked_at", "looked_at is a view"), (spark.table(source), "is not a Delta table")):
        with pytest.raises(TableError, match=f"{said}, so what is new .* score the Delta table behind it"):
            score(table=table, model=times, into=into)
        assert score(table=table, model=times, into=into, mode="full").rows == 2
    assert held(into) == [("1", 1, 2), ("1", 2, 4)]
