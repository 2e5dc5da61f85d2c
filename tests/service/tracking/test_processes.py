"""Processes that are killed, forked, or work at the same run at once."""

import random
import time

import pytest
from tests.service.tracking import training
from tests.service.tracking.both import eventually

from adbazureml import catch_up

# tests/unit/tracking/test_two_stores.py kills at any step; here it is real processes that die.
pytestmark = pytest.mark.full


def kill_after(process, seconds):
    time.sleep(seconds)
    process.kill()
    process.join()


# In mid run, and where it may be at its end, which takes a while on this way.
def test_training_is_killed_at_any_moment_and_caught_up_elsewhere(both, processes, tmp_path):
    ids = tmp_path / "ids"
    moments = random.Random(7)
    both.proxy.latency = 0.05
    try:
        for steps in (10_000, 10_000, 60, 60):
            before = ids.read_text() if ids.exists() else ""
            process = processes(training.train, both.experiment, str(ids), steps)
            eventually(lambda: ids.exists() and ids.read_text() != before)  # noqa: B023
            kill_after(process, moments.uniform(0.2, 2.0))
    finally:
        both.proxy.latency = 0.0
    assert catch_up(experiment=both.experiment).out_of_sync == ()
    both.assert_equal(tmp_path)
    assert sum(run.written for run in catch_up(experiment=both.experiment).runs) == 0


def test_catching_up_is_killed_again_and_again(both, processes, tmp_path):
    training_once = processes(training.train, both.experiment, str(tmp_path / "ids"), 300, 0.0, "databricks")
    training_once.join()
    for tenth in range(1, 9):
        kill_after(processes(training.catch_up_with, both.experiment), tenth / 10)
    assert catch_up(experiment=both.experiment).out_of_sync == ()
    both.assert_equal(tmp_path)


def test_three_catch_ups_at_once(both, processes, tmp_path):
    training_once = processes(training.train, both.experiment, str(tmp_path / "ids"), 100, 0.0, "databricks")
    training_once.join()
    both.proxy.latency = 0.05
    try:
        together = [processes(training.catch_up_with, both.experiment) for _ in range(3)]
        for process in together:
            process.join()
    finally:
        both.proxy.latency = 0.0
    assert [process.exitcode for process in together] == [0, 0, 0]
    catch_up(experiment=both.experiment)
    both.assert_equal(tmp_path)
