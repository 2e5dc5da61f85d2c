"""Whether losses have risen above those at training, however often one looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# The chance that a fall of quality is ever told of where there is none, over all days and all looks.
FALSE_ALARMS = 0.05
# Of it, what goes to the error in the mean at training; the rest to what comes after.
_TO_TRAINING = 0.5
# From this many rows on, means are close enough to normal.
FEWEST_ROWS = 50
# The bound is narrowest at so many rows.
_NARROWEST_AT = 1_000


@dataclass(frozen=True)
class Losses:
    """What a test needs of the losses of some rows.

    Attributes
    ----------
    rows : int
    total, squares : float
        Sums of the losses and of their squares.
    """

    rows: int
    total: float
    squares: float

    @property
    def mean(self) -> float:
        """The mean loss; NaN without rows."""
        return self.total / self.rows if self.rows else math.nan

    @property
    def deviation(self) -> float:
        """Their standard deviation, from two rows on."""
        if self.rows < 2:
            return math.nan
        return math.sqrt(max(self.squares - self.total**2 / self.rows, 0.0) / (self.rows - 1))

    def __add__(self, other: Losses) -> Losses:
        return Losses(self.rows + other.rows, self.total + other.total, self.squares + other.squares)


def risen_since(days: Sequence[Losses], training: Losses, *, tolerance: float = 0.0) -> int | None:
    """The day from which on the mean loss is proven to be furthest above that at training; None where it is nowhere.

    It may be asked after each day, and again as labels of earlier days arrive: rows of one population are told of with
    a probability of at most 5 %, once and for all. For each day, a one-sided confidence sequence of the mean loss since
    then holds at all times together; the k-th day gets a share of ``6 / (pi k)**2`` of the level.

    Parameters
    ----------
    days : sequence of Losses
        Of the rows predicted on each day, from the first on.
    training : Losses
        Of rows that the model did not learn from.
    tolerance : float
        By what share of the mean at training it may be larger.

    References
    ----------
    Waudby-Smith, I., Arbour, D., Sinha, R., Kennedy, E. H. and Ramdas, A. (2024), Time-uniform central limit theory and
    asymptotic confidence sequences, Annals of Statistics 52(6).
    """
    from scipy.stats import t

    if training.rows < 2:
        return None
    level = FALSE_ALARMS * _TO_TRAINING
    highest = training.mean + float(t.isf(level, training.rows - 1)) * training.deviation / math.sqrt(training.rows)
    since: list[Losses] = []
    total = Losses(0, 0.0, 0.0)
    for day in reversed(days):
        total += day
        since.append(total)
    proven: dict[int, float] = {}
    for number, losses in enumerate(reversed(since), start=1):
        if losses.rows < FEWEST_ROWS:
            break
        share = (FALSE_ALARMS - level) * 6 / (math.pi * number) ** 2
        lowest = losses.mean - losses.deviation * _half_width(losses.rows, share)
        if lowest > highest and losses.mean > (1 + tolerance) * training.mean:
            proven[number - 1] = lowest
    return max(proven, key=proven.__getitem__, default=None)


def _half_width(rows: int, level: float) -> float:
    """Of a one-sided confidence sequence, in standard deviations."""
    spread = (-2 * math.log(2 * level) + math.log(-2 * math.log(2 * level)) + 1) / _NARROWEST_AT
    grown = rows * spread + 1
    return math.sqrt(2 * grown / (rows**2 * spread) * math.log1p(math.sqrt(grown) / (2 * level)))
