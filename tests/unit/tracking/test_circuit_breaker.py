import pytest

from adbazureml.tracking.circuit_breaker import FIRST_PAUSE, LONGEST_PAUSE, CircuitBreaker, State


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return CircuitBreaker(clock)


def fail_a_try(breaker, clock):
    clock.now += breaker.wait()
    breaker.begin()
    assert breaker.state is State.HALF_OPEN
    breaker.failed()


def test_it_lets_everything_through_while_the_replica_answers(breaker):
    for _ in range(3):
        assert breaker.wait() == 0
        breaker.begin()
        assert breaker.succeeded() is False
    assert breaker.state is State.CLOSED


def test_a_failure_opens_it_and_jobs_that_began_with_it_count_once(breaker):
    for _ in range(3):
        breaker.begin()
    assert [breaker.failed() for _ in range(3)] == [True, False, False]
    assert breaker.state is State.OPEN
    assert breaker.wait() == FIRST_PAUSE


def test_one_job_tries_after_the_pause_and_the_others_wait_for_it(breaker, clock):
    breaker.failed()
    clock.now += FIRST_PAUSE / 2
    assert breaker.wait() == FIRST_PAUSE / 2
    clock.now += FIRST_PAUSE
    assert breaker.wait() == 0
    breaker.begin()
    assert breaker.state is State.HALF_OPEN
    assert breaker.wait() == float("inf")
    assert breaker.succeeded() is True
    assert (breaker.state, breaker.wait()) == (State.CLOSED, 0)


def test_pauses_grow_to_a_limit_and_begin_anew(breaker, clock):
    breaker.failed()
    pauses = [breaker.wait()]
    for _ in range(6):
        fail_a_try(breaker, clock)
        pauses.append(breaker.wait())
    assert pauses == [1, 2, 4, 8, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    breaker.succeeded()
    assert breaker.failed() is True
    assert breaker.wait() == FIRST_PAUSE


def test_who_insists_does_not_wait(breaker, clock):
    breaker.failed()
    breaker.insist()
    assert (breaker.state, breaker.wait()) == (State.OPEN, 0)
