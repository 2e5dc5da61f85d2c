"""Rows of a table that does not fit on the driver."""

import pytest

from adbazureml.validation import rows


def test_of_a_large_table_rows_with_a_label_are_drawn_from_all_of_it(spark, monkeypatch):
    monkeypatch.setattr(rows, "MOST_ROWS", 500)
    frame = spark.range(10_000).selectExpr("id", "if(id % 2 = 0, id, null) AS y")
    drawn, population = rows.draw_labelled(frame, "y")
    found = drawn.toPandas()["y"]
    assert population == 5_000
    assert len(found) == pytest.approx(500, abs=150)
    assert found.mean() == pytest.approx(5_000, abs=1_000)
    whole, population = rows.draw_labelled(frame.where("id < 600"), "y")
    assert whole.count() == population == 300
