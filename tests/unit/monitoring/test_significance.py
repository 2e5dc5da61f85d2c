"""When a change is more than chance: the rule on counts, without Spark."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency, fisher_exact, kstest

from adbazureml.monitoring.column_profile import CATEGORIES, Binned
from adbazureml.monitoring.significance import adjusted, p_value, smallest_shift

DECILES = tuple(float(edge) for edge in range(1, 10))


def number(values, edges=DECILES, missing=0):
    return np.array([*np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1), missing])


def numeric(edges=DECILES):
    return Binned("x", "numeric", edges)


def categorical(counts):
    return Binned("c", "categorical", tuple(f"k{i:03}" for i in range(len(counts) - 2)))


def listed(levels, baseline):
    """What a baseline keeps of the rows of each level, and the counts of others over the same list."""
    kept = sorted(sorted(np.flatnonzero(baseline), key=lambda level: -baseline[level])[:CATEGORIES])

    def counts(rows):
        return np.array([*rows[kept], rows.sum() - rows[kept].sum(), 0])

    return Binned("c", "categorical", tuple(f"k{level:03}" for level in kept)), counts


@pytest.mark.parametrize(("before", "now"), [(282, 30), (282, 89), (1_000, 1_000), (100, 5_000)])
@pytest.mark.parametrize("name", ["uniform", "counts", "nulls", "boolean", "few", "zipf", "flat"])
def test_rows_of_one_population_are_rarely_told_apart(name, before, now):
    random = np.random.default_rng(1)
    zipf = 1 / np.arange(1, 301)
    shares = {
        "boolean": [0.02, 0.98],
        "few": [0.65, 0.25, 0.1],
        "zipf": zipf / zipf.sum(),
        "flat": np.full(300, 1 / 300),
    }

    def drawn(rows):
        missing = random.binomial(rows, 0.05) if name == "nulls" else 0
        return random.uniform(0, 10, rows - missing), missing

    found = []
    for _ in range(120):
        if name in shares:
            baseline, current = (random.multinomial(rows, shares[name]) for rows in (before, now))
            column, counts = listed(len(shares[name]), baseline)
            found.append(p_value(column, counts(current), counts(baseline)))
        elif name == "counts":
            edges = (1.0, 2.0, 3.0, 4.0, 5.0)
            sides = [number(random.poisson(3, rows), edges) for rows in (now, before)]
            found.append(p_value(numeric(edges), *sides))
        else:
            found.append(
                p_value(numeric(), *(number(values, missing=gaps) for values, gaps in (drawn(now), drawn(before))))
            )
    # 120 draws: 5 % and three standard deviations more.
    assert np.mean(np.array(found) <= 0.05) <= 0.11


def test_a_million_rows_of_one_population_are_not_told_apart():
    random = np.random.default_rng(2)
    sides = [random.multinomial(10**6, np.full(10, 0.1)) for _ in range(2)]
    assert p_value(numeric(), *(np.append(side, 0) for side in sides)) > 0.05


@pytest.mark.parametrize(
    "change",
    [
        lambda random, rows: number(random.uniform(0, 10, rows) + 1),
        lambda random, rows: number((random.uniform(0, 10, rows) - 5) * 0.7 + 5),
        lambda random, rows: number(random.uniform(0, 10, rows - rows // 7), missing=rows // 7),
        # As many above as below, and as far from the middle: neither place nor width.
        lambda random, rows: number(random.choice([0.5, 3.5, 5.5, 9.5], rows)),
    ],
    ids=["place", "width", "missing", "shape"],
)
def test_what_changed_is_seen(change):
    random = np.random.default_rng(3)
    before = number(random.uniform(0, 10, 950), missing=50)
    assert p_value(numeric(), change(random, 400), before) < 1e-4


def test_a_new_category_is_seen_and_one_more_of_many_rare_ones_is_not():
    before = np.array([500, 300, 196, 0, 0])
    assert p_value(categorical(before), np.array([100, 60, 40, 0, 0]), before) > 0.5
    assert p_value(categorical(before), np.array([100, 60, 0, 40, 0]), before) < 1e-4
    assert p_value(categorical(before), np.array([100, 60, 0, 0, 40]), before) < 1e-4


def test_agrees_with_scipy_where_the_rule_is_one_test():
    before, now = np.array([500, 300, 200, 0, 0]), np.array([120, 50, 60, 0, 0])
    exact = chi2_contingency(np.stack([now, before])[:, :3], correction=False).pvalue
    assert p_value(categorical(before), now, before) == pytest.approx(exact)
    # No value on one side: what is missing is all there is to test.
    column, before, now = numeric(()), np.array([8, 2]), np.array([0, 9])
    assert p_value(column, now, before) == pytest.approx(fisher_exact([[9, 0], [2, 8]]).pvalue / 0.9)


def test_few_rows_are_dealt_the_same_way_each_time():
    before, now = number(np.linspace(0.1, 9.9, 40)), number(np.linspace(0.1, 5, 12))
    assert p_value(numeric(), now, before) == p_value(numeric(), now, before) < 0.05


@pytest.mark.parametrize("side", [0, 1])
def test_no_row_says_nothing(side):
    sides = [np.zeros(11, dtype=int), number(np.linspace(0, 10, 50))]
    assert p_value(numeric(), sides[side], sides[1 - side]) == 1.0


def test_of_many_columns_a_small_p_value_is_to_be_expected():
    p_values = np.linspace(0.001, 1, 500)
    assert not any(adjusted(p_values) <= 0.05)
    assert adjusted([0.001, 0.5, 0.9])[0] == pytest.approx(0.003)
    assert len(adjusted([])) == 0


@pytest.mark.parametrize(("now", "before"), [(89, 282), (1_000, 1_000)])
def test_the_shift_that_is_said_to_be_found_is_found_four_times_in_five(now, before):
    random = np.random.default_rng(4)
    edges = tuple(np.linspace(-1.3, 1.3, 9))
    shift = smallest_shift(now, before, 1)
    found = [
        p_value(numeric(edges), number(random.normal(shift, 1, now), edges), number(random.normal(0, 1, before), edges))
        for _ in range(200)
    ]
    assert 0.68 <= np.mean(np.array(found) <= 0.05) <= 0.92


def test_p_values_of_one_population_are_spread_evenly():
    random = np.random.default_rng(5)
    shares = [0.5, 0.3, 0.2]
    found = []
    for _ in range(400):
        before, now = (np.append(random.multinomial(rows, shares), [0, 0]) for rows in (1_000, 400))
        found.append(p_value(categorical(before), now, before))
    assert kstest(found, "uniform").pvalue > 0.001
