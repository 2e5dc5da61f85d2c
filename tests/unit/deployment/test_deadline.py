"""How long something may take, on a clock of the test's own."""

import pytest

from adbazureml.deployment.target import Deadline


class Skipping:
    """A clock on which only sleeping takes time."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_polls_at_once_then_every_so_often_and_a_last_time_at_the_end():
    deadline = Deadline.after(600, clock=Skipping())
    assert list(deadline.polls(250)) == [0, 250, 500, 600]
    assert deadline.remaining == 0
    assert str(deadline.missed("deployment 'm-1' is not healthy")) == (
        "deployment 'm-1' is not healthy after 600 s; raise timeout."
    )


@pytest.mark.parametrize("seconds", [0, -5])
def test_without_time_there_is_one_look(seconds):
    assert list(Deadline.after(seconds, clock=Skipping()).polls(1)) == [0]


def test_what_takes_time_itself_is_counted():
    clock = Skipping()
    looks = []
    for waited in Deadline.after(100, clock=clock).polls(10):
        looks.append(waited)
        clock.sleep(40)
    assert looks == [0, 50, 100]
