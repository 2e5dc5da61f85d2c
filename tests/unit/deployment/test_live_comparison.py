"""When a new version is worse on the requests of callers: beyond the limits and beyond chance, at any number."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adbazureml.deployment.live_comparison import LiveComparison, LiveFigures, LiveLimits, Minute, compare_live
from adbazureml.errors import DeploymentError

LIMITS = LiveLimits(requests=50)
BOUNDS = (5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, math.inf)
QUANTILES = (0.5, 0.9, 0.95, 0.99)


def histogram(milliseconds, errors=0):
    """A minute as Databricks tells it."""
    within = tuple((bound, int(np.sum(milliseconds <= bound))) for bound in BOUNDS)
    return Minute(requests=len(milliseconds), errors=errors, within=within)


def quantiles(milliseconds, errors=0):
    """A minute as Azure Monitor tells it."""
    within = tuple(
        (float(np.quantile(milliseconds, each, method="inverted_cdf")), each * len(milliseconds)) for each in QUANTILES
    )
    return Minute(requests=len(milliseconds), errors=errors, within=within)


def minute(requests, errors=0):
    return Minute(requests=requests, errors=errors)


@pytest.mark.parametrize(
    ("new", "old", "verdict"),
    [
        ((20, 20), (180, 0), "worse"),
        ((200, 30), (1800, 9), "worse"),
        # One of five is no evidence, nor is what has no other side.
        ((5, 1), (45, 0), "too few requests"),
        ((200, 200), (0, 0), "too few requests"),
        ((0, 0), (0, 0), "too few requests"),
        ((49, 0), (1000, 0), "too few requests"),
        ((50, 0), (1000, 0), "no worse"),
        # More than chance, and within the limit.
        ((100_000, 900), (100_000, 100), "no worse"),
        ((100_000, 1_200), (100_000, 100), "worse"),
        # Beyond the limit, and no more than chance.
        ((60, 2), (600, 8), "no worse"),
        ((200, 9), (1800, 900), "no worse"),
    ],
)
def test_errors_are_judged_with_the_number_of_requests_in_mind(new, old, verdict):
    outcome = compare_live([minute(*new)], [minute(*old)], LIMITS)
    assert outcome.verdict == verdict
    assert bool(outcome.reasons) == (verdict == "worse")
    assert verdict in str(outcome)


def test_a_verdict_shows_its_figures_and_its_reason():
    outcome = compare_live([minute(20, 20)], [minute(90), minute(90)], LIMITS)
    assert outcome.new == LiveFigures(requests=20, errors=20, p95_ms=math.inf)
    assert outcome.old.requests == 180
    assert "100.0% of its requests failed, 0.0% before (limit 1.0% more, p" in str(outcome)
    shown = outcome._repr_html_()
    assert "180" in shown
    assert outcome.reasons[0] in shown


@pytest.mark.parametrize("told", [histogram, quantiles])
@pytest.mark.parametrize(("factor", "verdict"), [(0.5, "no worse"), (1.0, "no worse"), (6.0, "worse")])
def test_latency_is_judged_by_what_a_service_tells_of_it(told, factor, verdict):
    random = np.random.default_rng(3)
    before = [told(random.lognormal(3, 0.4, 300)) for _ in range(5)]
    now = [told(factor * random.lognormal(3, 0.4, 60)) for _ in range(5)]
    outcome = compare_live(now, before, LIMITS)
    assert outcome.verdict == verdict
    if verdict == "worse":
        assert "of its requests took longer than" in outcome.reasons[0]


def test_the_95th_percentile_is_the_bound_within_which_95_of_100_are_for_certain():
    told = histogram(np.array([4.0] * 95 + [900.0] * 5))
    assert compare_live([told], [told], LIMITS).new.p95_ms == 5
    told = histogram(np.array([4.0] * 94 + [900.0] * 6))
    assert compare_live([told], [told], LIMITS).new.p95_ms == 1000
    assert compare_live([quantiles(np.arange(1.0, 21.0))], [], LIMITS).new.p95_ms == 19


def test_a_slow_tail_is_worse_only_beyond_five_of_a_hundred():
    before = histogram(np.full(4000, 20.0))
    assert compare_live([histogram(np.r_[np.full(970, 20.0), np.full(30, 400.0)])], [before], LIMITS).reasons == ()
    worse = compare_live([histogram(np.r_[np.full(900, 20.0), np.full(100, 400.0)])], [before], LIMITS)
    assert worse.reasons[0].startswith("10.0% of its requests took longer than 38 ms")


@pytest.mark.parametrize("told", [histogram, quantiles])
def test_versions_that_are_alike_hardly_ever_give_way(told):
    random = np.random.default_rng(20)
    looks, worse = 10, 0
    for _ in range(40):
        before, now = [], []
        for _ in range(looks):
            before.append(told(random.lognormal(3, 0.5, 90), errors=int(random.binomial(90, 0.03))))
            now.append(told(random.lognormal(3, 0.5, 10), errors=int(random.binomial(10, 0.03))))
            if compare_live(now, before, LIMITS, looks=looks).verdict == "worse":
                worse += 1
                break
    assert worse <= 2


MINUTES = st.lists(
    st.lists(st.floats(0.1, 900), min_size=1, max_size=60).flatmap(
        lambda times: st.builds(
            lambda errors, told: told(np.array(times), errors),
            st.integers(0, len(times)),
            st.sampled_from([histogram, quantiles]),
        )
    ),
    max_size=4,
)


@settings(max_examples=30)
@given(MINUTES)
def test_nothing_is_worse_than_itself(minutes):
    assert compare_live(minutes, minutes, LIMITS).verdict != "worse"


@settings(max_examples=30)
@given(MINUTES, MINUTES, st.integers(1, 20))
def test_more_looks_take_more_evidence_and_the_order_of_minutes_none(new, old, looks):
    often = compare_live(new, old, LIMITS, looks=looks)
    once = compare_live(new[::-1], old[::-1], LIMITS)
    assert often.new == once.new
    assert len(often.reasons) <= len(once.reasons)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seconds": 0}, r"seconds 0: expected seconds, more than 0, such as LiveLimits\(seconds=600\)"),
        ({"requests": 0}, "requests 0: expected a number of requests"),
        ({"errors": 1.5}, "errors 1.5: expected a share"),
        ({"slower": 0.9}, "slower 0.9: expected a factor"),
    ],
)
def test_limits_that_make_no_sense(wrong, said):
    with pytest.raises(DeploymentError, match=said):
        LiveLimits(**wrong)


def test_what_is_too_little_says_so():
    assert str(
        LiveComparison(
            new=LiveFigures(requests=0, errors=0, p95_ms=math.inf),
            old=LiveFigures(requests=3, errors=1, p95_ms=12.4),
            verdict="too few requests",
        )
    ) == ("too few requests: new 0 of 0 requests failed; before 1 of 3 requests failed, 95 of 100 within 12 ms")
