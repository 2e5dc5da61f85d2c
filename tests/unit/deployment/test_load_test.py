"""What a load test says of itself, and what it refuses before any request."""

import math

import pytest

from adbazureml.deployment.load_test import LoadTest, load_test
from adbazureml.errors import DeploymentError

RESULT = LoadTest(
    clients=2,
    seconds=2.0,
    rate=1.5,
    p50_ms=4.0,
    p95_ms=8.0,
    p99_ms=9.0,
    errors={"503": 2, "no answer": 1},
    milliseconds=(3.0, 4.0, 9.0),
)


def test_it_shows_its_figures():
    assert str(RESULT) == (
        "2 requests/s with 2 clients: p50 4.0 ms, p95 8.0 ms, p99 9.0 ms; failed: 2 x 503, 1 x no answer"
    )
    shown = RESULT._repr_html_()
    assert "<td>p95 (ms)</td><td>8.0</td>" in shown
    assert "2 x 503<br>1 x no answer" in shown
    axes = RESULT.plot().axes[0]
    assert axes.get_xlabel() == "milliseconds"
    assert [text.get_text() for text in axes.texts] == ["p50", "p95", "p99"]


def test_it_can_be_drawn_without_any_answer():
    nothing = LoadTest(
        clients=1, seconds=1, rate=0, p50_ms=math.nan, p95_ms=math.nan, p99_ms=math.nan, errors={}, milliseconds=()
    )
    nothing.plot().canvas.draw()
    assert "none failed" in str(nothing)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seconds": 0, "clients": 1}, "seconds 0: expected more than 0, up to 3600"),
        ({"seconds": 3601, "clients": 1}, "seconds 3601: "),
        ({"seconds": 1, "clients": 0}, "clients 0: expected 1 to 256"),
        ({"seconds": 1, "clients": 257}, "clients 257: "),
    ],
)
def test_what_is_out_of_range_asks_nobody(wrong, said):
    with pytest.raises(DeploymentError, match=said):
        load_test(pytest.fail, {}, **wrong)
