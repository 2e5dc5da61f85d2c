"""A table whose rows are updated, deleted and given other keys: each row keeps one prediction, the one it would get."""

import pytest

from adbazureml import runtime
from adbazureml.errors import TableError
from adbazureml.scoring import score


@pytest.fixture
def source(into, spark):
    name = f"{into}_source"
    spark.sql(
        f"CREATE TABLE {name} USING delta TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true') AS "
        "SELECT * FROM VALUES (1L, 1D), (2L, 2D), (3L, 3D), (4L, 4D) AS t(nr, x)"
    )
    yield name
    runtime.drop_table(name)
    runtime.drop_table(f"{into}_rejected")


def held(into):
    rows = runtime.spark().table(into).select("nr", "prediction", "model_version").collect()
    return sorted((row["nr"], row["prediction"], row["model_version"]) for row in rows)


def test_rows_that_change_in_every_way(spark, source, times, into, tmp_path):
    how = {"table": source, "into": into, "keys": ["NR"], "where": "x < 100", "checkpoints": str(tmp_path)}
    assert score(model=times, **how).rows == 4
    spark.sql(f"UPDATE {source} SET x = 20 WHERE nr = 2")
    spark.sql(f"UPDATE {source} SET x = 30 WHERE nr = 2")
    spark.sql(f"DELETE FROM {source} WHERE nr = 3")
    spark.sql(f"UPDATE {source} SET nr = 9 WHERE nr = 4")
    spark.sql(f"INSERT INTO {source} VALUES (5, 5), (6, 600)")
    # A new version of the model scores what changed; the rest keeps what it has.
    assert score(model="models:/times/2", **how).rows == 3
    assert held(into) == [(1, 2, "1"), (2, 90, "2"), (5, 15, "2"), (9, 12, "2")]
    assert score(model="models:/times/2", **how).rows == 0
    # One comes to meet the condition, one no longer does, one goes and comes again.
    spark.sql(f"UPDATE {source} SET x = 6 WHERE nr = 6")
    spark.sql(f"UPDATE {source} SET x = 100 WHERE nr = 5")
    spark.sql(f"DELETE FROM {source} WHERE nr = 1")
    spark.sql(f"INSERT INTO {source} VALUES (1, 10)")
    assert score(model=times, **how).rows == 2
    assert held(into) == [(1, 20, "1"), (2, 90, "2"), (6, 12, "1"), (9, 12, "2")]
    # In full: version 1 stands beside version 2, and the next run goes on from here.
    assert score(model=times, mode="full", **how).rows == 4
    assert held(into) == [(1, 20, "1"), (2, 60, "1"), (2, 90, "2"), (6, 12, "1"), (9, 8, "1"), (9, 12, "2")]
    spark.sql(f"UPDATE {source} SET x = 7 WHERE nr = 9")
    assert score(model=times, **how).rows == 1
    assert held(into) == [(1, 20, "1"), (2, 60, "1"), (2, 90, "2"), (6, 12, "1"), (9, 14, "1")]


def test_a_row_comes_to_be_rejected_and_taken_again(spark, source, times, into, tmp_path):
    how = {"table": source, "model": times, "into": into, "keys": ["nr"], "checkpoints": str(tmp_path)}
    how |= {"rejected_into": f"{into}_rejected"}
    score(**how)
    spark.sql(f"UPDATE {source} SET x = 13 WHERE nr = 2")
    scored = score(**how)
    assert (scored.rows, scored.rejected) == (0, 1)
    assert [row[0] for row in held(into)] == [1, 3, 4]
    assert spark.table(f"{into}_rejected").first()["rejected"] == "ValueError: 13 is not for me"
    spark.sql(f"UPDATE {source} SET x = 14 WHERE nr = 2")
    assert score(**how).rows == 1
    assert (2, 28, "1") in held(into)
    assert spark.table(f"{into}_rejected").count() == 0


def test_keys_that_do_not_serve(spark, source, times, into, tmp_path):
    how = {"table": source, "model": times, "into": into, "checkpoints": str(tmp_path)}
    with pytest.raises(TableError, match="keys needs 'number'"):
        score(**how, keys=["number"])
    with pytest.raises(TableError, match="keys: nr is not among the columns to write"):
        score(**how, keys=["nr"], keep=["x"])
    spark.sql(f"INSERT INTO {source} VALUES (1, 8)")
    with pytest.raises(TableError, match=r"keys: nr do not tell the rows apart: two have 1. Name"):
        score(**how, keys=["nr"])
    assert held(into) == []
    spark.sql(f"ALTER TABLE {source} SET TBLPROPERTIES ('delta.enableChangeDataFeed' = 'false')")
    with pytest.raises(TableError, match=r"does not record how its rows change. Call ALTER TABLE"):
        score(**how, keys=["nr"])
