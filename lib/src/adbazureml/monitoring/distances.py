"""Four ways to say how far one distribution is from another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A bin that one side leaves empty would make the index infinite; it counts as one row in ten thousand.
_SMALLEST_SHARE = 1e-4


def population_stability_index(current: NDArray[np.int64], baseline: NDArray[np.int64]) -> float:
    """Population stability index of two histograms over the same bins.

    ``sum((c - b) * ln(c / b))`` over the bins, with `c` and `b` the shares of rows; a share below 0.0001 counts as
    0.0001. Zero for equal shares, without an upper end; by the usual rule of thumb up to 0.1 is stable, 0.2 and more a
    shift.

    Parameters
    ----------
    current, baseline : array of int, shape (n_bins,)
        Rows in each bin.

    References
    ----------
    Siddiqi, N. (2006), Credit Risk Scorecards, Wiley, chapter 9.
    """
    return float(np.sum(psi_of_bins(current, baseline)))


def psi_of_bins(current: NDArray[np.int64], baseline: NDArray[np.int64]) -> NDArray[np.float64]:
    """What each bin contributes to the population stability index.

    Parameters
    ----------
    current, baseline : array of int, shape (n_bins,)
        Rows in each bin.

    Returns
    -------
    array of float, shape (n_bins,)
    """
    c = np.maximum(current / current.sum(), _SMALLEST_SHARE)
    b = np.maximum(baseline / baseline.sum(), _SMALLEST_SHARE)
    return np.asarray((c - b) * np.log(c / b))


def jensen_shannon_distance(current: NDArray[np.int64], baseline: NDArray[np.int64]) -> float:
    """Square root of the Jensen-Shannon divergence to base 2: 0 for equal shares, 1 where no bin is shared.

    Parameters
    ----------
    current, baseline : array of int, shape (n_bins,)
        Rows in each bin.

    References
    ----------
    Lin, J. (1991), Divergence measures based on the Shannon entropy, IEEE Transactions on Information Theory 37(1).
    Endres, D. M. and Schindelin, J. E. (2003), A new metric for probability distributions, ibid. 49(7): its root.
    """
    from scipy.spatial.distance import jensenshannon

    return float(jensenshannon(current, baseline, base=2))


def kolmogorov_smirnov(current: NDArray[np.float64], baseline: NDArray[np.float64]) -> float:
    """Largest distance between two cumulative distributions, from equally many quantiles of each.

    Parameters
    ----------
    current, baseline : array of float, shape (n_quantiles,)
        Quantiles at the same, evenly spaced probabilities, ascending.

    Returns
    -------
    float
        From 0 to 1, within ``1 / n_quantiles`` of the statistic of the full samples where the quantiles are exact: each
        of the two step functions is at most half a step off.

    References
    ----------
    Smirnov, N. (1948), Table for estimating the goodness of fit of empirical distributions, Annals of Mathematical
    Statistics 19(2).
    """
    points = np.concatenate([current, baseline])
    below_current = np.searchsorted(current, points, side="right") / len(current)
    below_baseline = np.searchsorted(baseline, points, side="right") / len(baseline)
    return float(np.max(np.abs(below_current - below_baseline)))


def wasserstein(current: NDArray[np.float64], baseline: NDArray[np.float64]) -> float:
    """First Wasserstein (earth mover's) distance, in the unit of the column, from equally many quantiles of each.

    In one dimension it is the area between the two quantile functions, here the mean of their absolute differences.

    Parameters
    ----------
    current, baseline : array of float, shape (n_quantiles,)
        Quantiles at the same, evenly spaced probabilities, ascending.

    References
    ----------
    Vallender, S. S. (1974), Calculation of the Wasserstein distance between probability distributions on the line,
    Theory of Probability and Its Applications 18(4).
    """
    # Infinity on both sides is no distance, though its difference is no number.
    gaps = np.zeros(len(current))
    np.subtract(current, baseline, out=gaps, where=current != baseline)
    return float(np.mean(np.abs(gaps)))
