"""Judge a new deployment by the requests that callers send: is it worse than the one before by more than chance."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Literal

from adbazureml.errors import DeploymentError
from adbazureml.text import html_table

# The chance that a version which is no worse gives way, over all looks at a step, and errors and latency together.
LEVEL = 0.01
_P95 = 0.95
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class LiveLimits:
    """How long each step of a roll-out is watched, and when the new version gives way to the one before.

    Attributes
    ----------
    seconds : float
        How long the requests of callers are watched at each step.
    requests : int
        Requests of each version without which it is not said that the new one is no worse.
    errors : float
        By how much its share of answers of 400 and more may be above the other's, 0 to 1.
    slower : float
        How many times the other's 95th percentile its own may be, at least 1.

    Raises
    ------
    DeploymentError
        A value is wrong.
    """

    seconds: float = 600
    requests: int = 100
    errors: float = 0.01
    slower: float = 1.5

    def __post_init__(self) -> None:
        expected = {
            "seconds": (self.seconds > 0, "seconds, more than 0", 600),
            "requests": (self.requests >= 1, "a number of requests, at least 1", 100),
            "errors": (0 <= self.errors < 1, "a share of the requests, from 0 to below 1", 0.01),
            "slower": (self.slower >= 1, "a factor, at least 1", 1.5),
        }
        for name, (right, what, example) in expected.items():
            if not right:
                raise DeploymentError(
                    f"{name} {getattr(self, name)!r}: expected {what}, such as LiveLimits({name}={example})."
                )


@dataclass(frozen=True, kw_only=True)
class Minute:
    """The requests that callers sent to a deployment within a minute.

    Attributes
    ----------
    requests : int
        How many.
    errors : int
        How many were answered with 400 or more.
    within : tuple of (float, float)
        What is known of the latency: how many requests, as a count, took no longer than so many milliseconds; both
        rising. The bounds of a histogram, or quantiles.
    """

    requests: int
    errors: int
    within: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class LiveFigures:
    """The requests of a deployment over all that was watched.

    Attributes
    ----------
    requests, errors : int
        See `Minute`.
    p95_ms : float
        Milliseconds within which 95 of 100 requests were answered for certain; infinite where that is not known.
    """

    requests: int
    errors: int
    p95_ms: float

    @property
    def error_rate(self) -> float:
        """Share of the requests that were answered with 400 or more; 0 without requests."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True, kw_only=True)
class LiveComparison:
    """What the requests of callers say of a new deployment.

    Attributes
    ----------
    new, old : LiveFigures
        Its own, and those of what served before.
    verdict : {"worse", "no worse", "too few requests"}
        "worse" with as many requests as it takes to be sure; "no worse" with at least `LiveLimits.requests` of both.
    reasons : tuple of str
        Why it is worse, a sentence each.
    """

    new: LiveFigures
    old: LiveFigures
    verdict: Literal["worse", "no worse", "too few requests"]
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        figures = f"new {_told(self.new)}; before {_told(self.old)}"
        return f"{self.verdict}: {figures}" + "".join(f"; {each}" for each in self.reasons)

    def _repr_html_(self) -> str:
        titles = ("", "requests", "errors", "95 of 100 within")
        rows = [
            (name, str(each.requests), f"{each.errors} ({each.error_rate:.1%})", _milliseconds(each.p95_ms))
            for name, each in (("new", self.new), ("before", self.old))
        ]
        said = "".join(f"<p>{escape(each)}</p>" for each in (self.verdict, *self.reasons))
        return html_table(rows, titles=titles) + said


def compare_live(new: Sequence[Minute], old: Sequence[Minute], limits: LiveLimits, *, looks: int = 1) -> LiveComparison:
    """Judge a new deployment by its requests beside those of the one before.

    It is worse where its share of errors is above the other's by more than the limit, or where more than 5 of 100 of
    its requests take longer than the limit times the other's 95th percentile; and where Fisher's exact test, one-sided,
    says that this is more than chance, at a level of 0.01 shared out among both questions and all looks (Bonferroni).
    What is known of the latency is bounds: requests count as slow for the new one, and as fast for the other, only
    where that is certain.

    Parameters
    ----------
    new, old : sequence of Minute
        Of one time, in any order.
    limits : LiveLimits
        The limits.
    looks : int
        How often it is asked in all before the traffic moves on.

    Returns
    -------
    LiveComparison
        The figures and the verdict.

    References
    ----------
    Fisher, R. A. (1922), On the interpretation of chi-square from contingency tables, J. R. Stat. Soc. 85(1).
    """
    mine, other = _figures(new), _figures(old)
    level = LEVEL / (2 * max(looks, 1))
    reasons = []
    if mine.error_rate - other.error_rate > limits.errors:
        p = _fisher(mine.errors, mine.requests, other.errors, other.requests)
        if p < level:
            reasons.append(
                f"{mine.error_rate:.1%} of its requests failed, {other.error_rate:.1%} before (limit"
                f" {limits.errors:.1%} more, p {p:.1g})"
            )
    slow_from = limits.slower * other.p95_ms
    if math.isfinite(slow_from):
        slow = math.floor(sum(_slower_at_least(each, slow_from) for each in new) + _ROUNDING)
        slow_before = math.ceil(sum(_slower_at_most(each, slow_from) for each in old) - _ROUNDING)
        p = _fisher(slow, mine.requests, slow_before, other.requests)
        if slow > (1 - _P95) * mine.requests and p < level:
            reasons.append(
                f"{slow / mine.requests:.1%} of its requests took longer than {slow_from:.0f} ms, {limits.slower:g}"
                f" times what 95 of 100 take before (p {p:.1g})"
            )
    if reasons:
        return LiveComparison(new=mine, old=other, verdict="worse", reasons=tuple(reasons))
    enough = min(mine.requests, other.requests) >= limits.requests
    return LiveComparison(new=mine, old=other, verdict="no worse" if enough else "too few requests")


def minutes_of(
    requests: Mapping[tuple[str, datetime], float],
    errors: Mapping[tuple[str, datetime], float],
    within: Mapping[tuple[str, datetime], Sequence[tuple[float, float]]],
) -> dict[str, dict[datetime, Minute]]:
    """Put together what a service tells of a deployment and the beginning of a minute, as `Target.live` returns it."""
    told: dict[str, dict[datetime, Minute]] = defaultdict(dict)
    for place, number in requests.items():
        deployment, moment = place
        told[deployment][moment] = Minute(
            requests=round(number), errors=round(errors.get(place, 0)), within=tuple(sorted(within.get(place, ())))
        )
    return told


def _figures(minutes: Sequence[Minute]) -> LiveFigures:
    requests = sum(each.requests for each in minutes)
    bounds = sorted({bound for each in minutes for bound, _ in each.within})
    # A quantile of 20 requests is a count that is off by its last digit.
    allowed = (1 - _P95) * requests + _ROUNDING
    p95 = (bound for bound in bounds if sum(_slower_at_most(each, bound) for each in minutes) <= allowed)
    return LiveFigures(requests=requests, errors=sum(each.errors for each in minutes), p95_ms=next(p95, math.inf))


def _slower_at_most(minute: Minute, milliseconds: float) -> float:
    """How many requests may have taken longer."""
    return minute.requests - max((count for bound, count in minute.within if bound <= milliseconds), default=0)


def _slower_at_least(minute: Minute, milliseconds: float) -> float:
    """How many requests have taken longer for certain."""
    return minute.requests - min(
        (count for bound, count in minute.within if bound >= milliseconds), default=minute.requests
    )


def _fisher(bad: int, of: int, bad_before: int, of_before: int) -> float:
    """Probability of so many bad ones or more among the new, if both had the same share; 1 where a side has none."""
    if not of or not of_before:
        return 1.0
    from scipy.stats import fisher_exact

    table = [[bad, of - bad], [bad_before, of_before - bad_before]]
    return float(fisher_exact(table, alternative="greater").pvalue)


def _told(figures: LiveFigures) -> str:
    errors = f"{figures.errors} of {figures.requests} requests failed"
    return errors + (f", 95 of 100 within {_milliseconds(figures.p95_ms)}" if math.isfinite(figures.p95_ms) else "")


def _milliseconds(value: float) -> str:
    return f"{value:.0f} ms" if math.isfinite(value) else "not known"
