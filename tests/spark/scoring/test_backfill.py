"""A new version scores the rows that the old one had: in parts, each once, whatever is killed in between."""

import pytest
from tests.spark.scoring.growing import grow, held

from adbazureml import runtime
from adbazureml.errors import TableError
from adbazureml.scoring import backfill as backfills
from adbazureml.scoring import score


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(backfills, "_ROWS_A_PART", 1)


@pytest.fixture
def killed(monkeypatch):
    """Call something that is killed before its second part is written."""
    write = backfills.write_once

    def die(rows, target, **options):
        if options["version"] % 10**9 > 1:
            raise KeyboardInterrupt
        write(rows, target, **options)

    def call(**how):
        with monkeypatch.context() as patch:
            patch.setattr(backfills, "write_once", die)
            with pytest.raises(KeyboardInterrupt):
                score(**how)

    return call


def test_what_an_old_version_or_none_scored_is_scored_once(spark, source, times, into, folder, small_parts, killed):
    how = {"table": source, "into": into, "checkpoints": folder}
    score(model=times, **how)
    # A row that is alike, and is scored by the new version.
    grow(spark, source, 2, 3)
    new = {"model": "models:/times/2", **how}
    assert score(**new).rows == 2
    old_rows = held(into)
    # Nobody's yet.
    grow(spark, source, 4)
    killed(**new, mode="backfill")
    before = len(held(into))
    assert score(**new, mode="backfill").rows == 7 - before
    assert held(into) == sorted([*old_rows, ("2", 1, 3), ("2", 2, 6), ("2", 4, 12)])
    assert score(**new, mode="backfill").rows == 0
    grow(spark, source, 5)
    assert score(**new).rows == 1
    assert held(into)[-1] == ("2", 5, 15)
    with pytest.raises(TableError, match=r"keep: a backfill tells .* add x"):
        score(**{**new, "into": f"{into}_without"}, keep=[], mode="backfill")
    runtime.drop_table(f"{into}_without")


@pytest.mark.full
def test_another_version_loses_no_row_after_a_kill(spark, source, times, into, folder, small_parts, killed):
    how = {"table": source, "into": into, "checkpoints": folder}
    score(model=times, **how)
    grow(spark, source, 3)
    killed(model="models:/times/2", mode="backfill", **how)
    grow(spark, source, 4)
    score(model=times, **how)
    assert [row for row in held(into) if row[0] == "1"] == [("1", x, 2 * x) for x in (1, 2, 3, 4)]
    assert score(model=times, **how).rows == 0


def test_rejected_rows_are_not_tried_again(spark, source, times, into, folder):
    grow(spark, source, 13)
    rejected = f"{into}_rejected"
    how = {"table": source, "into": into, "checkpoints": folder, "rejected_into": rejected, "mode": "backfill"}
    try:
        done = score(model=times, **how)
        assert (done.rows, done.rejected) == (2, 1)
        done = score(model=times, **how)
        assert (done.rows, done.rejected) == (0, 0)
        assert spark.table(rejected).count() == 1
    finally:
        runtime.drop_table(rejected)
