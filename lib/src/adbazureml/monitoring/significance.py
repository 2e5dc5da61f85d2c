"""Whether the rows of two histograms may well come from one population, at any number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adbazureml.monitoring.column_profile import CATEGORIES, Binned

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The share of columns that may be called drifted by chance, over all of a report (Benjamini and Hochberg).
LEVEL = 0.05
# From this many rows expected in each bin on, the chi-square distribution is close enough (Cochran 1954).
_EXPECTED = 5
# Of the level, what goes to a change of place, width or missing values, and to any other change of shape.
_USUAL, _ODD = 0.9, 0.1
# The pooled rows are dealt again so often; more often where next to none of these is as far apart.
_DEALS, _MORE_DEALS, _CLOSE_CALLS = 999, 9_999, 10
# numpy deals at most so many rows.
_MOST_ROWS = 10**9
_SEED = 20
# A category that both sides have in common is one that the baseline would hardly ever have missed.
_HARDLY_EVER = 3.0


def p_value(column: Binned, current: NDArray[np.int64], baseline: NDArray[np.int64]) -> float:
    """Probability of counts at least as far apart as these, if both sides were drawn from one population.

    A number is tested for a change of place or width, by the mid-ranks of its bins and their squares (a Wilcoxon and a
    Mood test, joined with the covariance of both), for a change of the share of missing values by Fisher's exact test,
    and for any other change of shape by Pearson's chi-square; nine tenths of the level go to the former. Text and
    booleans are tested by Pearson's chi-square over the categories. Where a bin has less than 5 expected rows, the
    pooled rows are dealt anew, under a fixed seed, instead of trusting the chi-square distribution.

    Parameters
    ----------
    column : Binned
        The column with its bins.
    current, baseline : array of int, shape (n_bins,)
        Rows in each bin, missing values last.

    Returns
    -------
    float
        From 0 to 1; 1 where a side has no row.

    References
    ----------
    Lepage, Y. (1971), A combination of Wilcoxon's and Ansari-Bradley's statistics, Biometrika 58(1).
    Cochran, W. G. (1954), Some methods for strengthening the common chi-square tests, Biometrics 10(4).
    """
    if not current.sum() or not baseline.sum():
        return 1.0
    table = np.stack([current, baseline])
    if column.kind == "categorical":
        return _chance(_common(column, table), [_pearson])[0]
    missing = np.stack([table[:, -1], table[:, :-1].sum(axis=1)], axis=1)
    usual = [p for p in (_fisher(missing),) if missing[:, 0].any()]
    shape = 1.0
    if table[:, :-1].sum(axis=1).all():
        place, shape = _chance(table[:, :-1], [_place_and_width, _pearson])
        usual.append(place)
    return float(min(1.0, len(usual) * min(usual) / _USUAL, shape / _ODD))


def adjusted(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Raise p values so that of those up to a level no more than that share is chance.

    Parameters
    ----------
    p_values : sequence of float

    Returns
    -------
    array of float, shape (n_values,)

    References
    ----------
    Benjamini, Y. and Hochberg, Y. (1995), Controlling the false discovery rate, Journal of the Royal Statistical
    Society B 57(1).
    """
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p_values)) if len(p_values) else np.array([])


def smallest_shift(current: int, baseline: int, columns: int) -> float:
    """Shift of one normal column, in standard deviations, that is significant four times in five.

    Parameters
    ----------
    current, baseline : int
        Rows on each side.
    columns : int
        Columns that are tested together.
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2, ncx2

    limit = chi2.isf(LEVEL * _USUAL / columns, 2)
    needed = brentq(lambda distance: ncx2.sf(limit, 2, distance) - 0.8, 1e-3, 1e3)
    # Ranks know 3/pi of what the values of a normal column do.
    return float(np.sqrt(needed * (1 / current + 1 / baseline) * np.pi / 3))


def _common(column: Binned, table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join the categories that are in the list by chance with those that are not in it.

    The list holds what the baseline has, or has most of. Rare categories got there by being more frequent in the
    baseline than they are, so that new rows of the same population have fewer of them and more others.
    """
    pooled, share = table.sum(axis=0), table[1].sum() / table.sum()
    least = table[1][:-2].min() if len(column.bins) == CATEGORIES else 0
    sure = pooled * share - _HARDLY_EVER * np.sqrt(pooled * share * (1 - share)) >= least
    sure[-2:] = False, True
    rest = table[:, ~sure].sum(axis=1, keepdims=True)
    return np.concatenate([table[:, sure], rest], axis=1)


def _chance(table: NDArray[np.int64], tests: Sequence[Any]) -> list[float]:
    """The p value of each test, of the statistic's own distribution or by dealing the pooled rows again."""
    from scipy.stats import chi2

    table = table[:, table.sum(axis=0) > 0]
    pooled, rows = table.sum(axis=0), table.sum(axis=1)
    if len(pooled) < 2:
        return [1.0] * len(tests)
    found = [test(table[:1], pooled) for test in tests]
    if pooled.min() * rows.min() / rows.sum() >= _EXPECTED or rows.sum() >= _MOST_ROWS:
        return [float(chi2.sf(value[0], freedom)) for value, freedom in found]
    random = np.random.default_rng(_SEED)
    for deals in (_DEALS, _MORE_DEALS):
        dealt = random.multivariate_hypergeometric(pooled, rows[0], size=deals, method="marginals")
        # What differs by rounding only is as far apart.
        beyond = [
            int(np.sum(test(dealt, pooled)[0] >= value[0] * (1 - 1e-9)))
            for test, (value, _) in zip(tests, found, strict=True)
        ]
        if min(beyond) >= _CLOSE_CALLS:
            break
    return [(1 + count) / (1 + deals) for count in beyond]


def _pearson(current: NDArray[np.int64], pooled: NDArray[np.int64]) -> tuple[NDArray[np.float64], int]:
    """Pearson's chi-square of one side's counts, given those of both, and its degrees of freedom."""
    share = current[0].sum() / pooled.sum()
    gaps = np.square(current - pooled * share)
    return np.sum(gaps / (pooled * share * (1 - share)), axis=1), len(pooled) - 1


def _place_and_width(current: NDArray[np.int64], pooled: NDArray[np.int64]) -> tuple[NDArray[np.float64], int]:
    """How far the mid-ranks of one side, and their squares, are from those of all; and the degrees of freedom."""
    rows, total = current[0].sum(), pooled.sum()
    ranks = (np.cumsum(pooled) - pooled / 2) / total - 0.5
    scores = np.stack([ranks, np.square(ranks)])
    scores -= (scores * pooled).sum(axis=1, keepdims=True) / total
    covariance = (scores * pooled) @ scores.T / (total - 1) * (total - rows) / total / rows
    gaps = current @ scores.T / rows
    # With two bins, place is all there is.
    inverse, rank = np.linalg.pinv(covariance, hermitian=True), int(np.linalg.matrix_rank(covariance, hermitian=True))
    return np.einsum("ij,jk,ik->i", gaps, inverse, gaps), rank


def _fisher(table: NDArray[np.int64]) -> float:
    from scipy.stats import chi2_contingency, fisher_exact

    if not table.sum(axis=0).all():
        return 1.0
    expected = table.sum(axis=0).min() * table.sum(axis=1).min() / table.sum()
    found = fisher_exact(table) if expected < _EXPECTED else chi2_contingency(table, correction=False)
    return float(found.pvalue)
