"""A stream that waits for its first row to be there, and what its owner sees of it meanwhile."""

import threading

import pytest

from adbazureml.scoring import waiting_query, write_conflicts
from adbazureml.scoring.waiting_query import WaitingQuery


class Query:
    isActive = True  # noqa: N815

    def processAllAvailable(self):
        pass

    def stop(self):
        self.isActive = False


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(write_conflicts, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(waiting_query, "_POLL_SECONDS", 0.01)


def start_after(*errors):
    """Fail so often, then start."""
    left = list(errors)

    def start():
        if left:
            raise left.pop(0)
        return Query()

    return start


def test_a_start_that_a_busy_machine_or_another_job_prevents_is_repeated():
    busy = RuntimeError("org.apache.spark.SparkException: Python worker failed to connect back.")
    conflict = RuntimeError("[CONCURRENT_STREAM_LOG_UPDATE] Concurrent update to the log")
    query = WaitingQuery(start_after(busy, conflict), lambda: True)
    query.processAllAvailable()
    assert query.isActive
    query.stop()
    assert not query.isActive


def test_a_start_that_fails_for_good_is_told_to_who_waits():
    query = WaitingQuery(start_after(ValueError("no such column")), lambda: True)
    with pytest.raises(ValueError, match="no such column"):
        query.awaitTermination()
    assert not query.isActive
    query.stop()


def test_it_runs_at_the_moment_in_which_it_begins():
    asked = threading.Event()

    class Decided(threading.Event):
        def is_set(self):
            """The query begins just now, while its owner asks."""
            asked.set()
            self.wait()
            return super().is_set()

    def start():
        asked.wait()
        return Query()

    due = threading.Event()
    query = WaitingQuery(start, due.is_set)
    query._decided = Decided()
    due.set()
    assert query.isActive
    query.stop()


def test_one_that_never_begins_is_stopped():
    query = WaitingQuery(start_after(), lambda: False)
    assert query.isActive
    query.processAllAvailable()
    query.stop()
    assert not query.isActive
