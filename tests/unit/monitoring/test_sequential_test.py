"""How often a fall of quality is told of, by simulation under fixed seeds."""

import numpy as np
import pytest

from adbazureml.monitoring.sequential_test import FALSE_ALARMS, FEWEST_ROWS, Losses, risen_since

KINDS = {
    "absolute errors": lambda random, rows: np.abs(random.normal(size=rows)),
    "skewed errors": lambda random, rows: random.lognormal(size=rows),
    "wrong answers": lambda random, rows: (random.random(rows) < 0.1).astype(float),
}


def losses(values):
    return Losses(len(values), float(values.sum()), float(np.square(values).sum()))


def told_on(random, kind, *, days, rows, from_day=0, factor=1.0):
    """The day on which a watcher who looks each day is told, and since when; None where never."""
    training, seen = losses(KINDS[kind](random, 500)), []
    for day in range(days):
        seen.append(losses(KINDS[kind](random, rows) * (factor if day >= from_day else 1)))
        if (since := risen_since(seen, training)) is not None:
            return day, since
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_a_watcher_who_looks_each_day_is_rarely_told_of_a_fall_that_is_none(kind):
    random = np.random.default_rng(2)
    told = sum(told_on(random, kind, days=25, rows=20) is not None for _ in range(80))
    assert told <= 80 * FALSE_ALARMS


@pytest.mark.parametrize("kind", ["absolute errors", "skewed errors"])
def test_a_fall_is_found_within_days_also_after_a_good_month(kind):
    random = np.random.default_rng(3)
    for _ in range(10):
        day, since = told_on(random, kind, days=60, rows=50, from_day=30, factor=2.0)
        assert 30 <= day <= 45
        assert abs(since - 30) <= 5


def test_few_rows_prove_nothing():
    training = losses(np.full(100, 1.0) + np.arange(100) / 1000)
    bad = losses(np.linspace(9, 11, FEWEST_ROWS - 1))
    assert risen_since([bad], training) is None
    assert risen_since([bad, Losses(1, 9.0, 81.0)], training) == 0
    assert risen_since([], training) is None
    assert risen_since([bad, bad], Losses(1, 1.0, 1.0)) is None


def test_what_is_proven_but_within_the_tolerance_is_no_fall():
    training = losses(np.random.default_rng(4).normal(1, 0.01, 5_000))
    slightly_worse = [losses(np.random.default_rng(5).normal(1.05, 0.01, 5_000))]
    assert risen_since(slightly_worse, training) == 0
    assert risen_since(slightly_worse, training, tolerance=0.1) is None
