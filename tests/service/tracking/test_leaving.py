"""What a process that ends leaves behind: no thread while it lives, and nothing that the next one does not mend."""

import signal
import threading
import time

import mlflow
import pytest
from tests.service.tracking import training
from tests.service.tracking.both import eventually

from adbazureml import AzureMLWorkspace, catch_up, track
from adbazureml.tracking import close, flush, outbox, status
from adbazureml.tracking.outbox import Outbox
from adbazureml.tracking.store_pair import current_pair


@pytest.fixture(autouse=True)
def threads():
    """Call it for the names of the threads that this package has started since the test began.

    One of an earlier test may live on: MLflow asks a Databricks workspace that is gone for eight minutes.
    """
    before = set(threading.enumerate())

    def started_since():
        return [one.name for one in set(threading.enumerate()) - before if one.name.startswith("adbazureml-")]

    return started_since


def log_a_run():
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.5)
    return run.info.run_id


@pytest.mark.parametrize(
    ("ended_by", "mended_by"),
    [
        (signal.SIGKILL, "catch_up"),
        pytest.param(signal.SIGKILL, "a run", marks=pytest.mark.full),
        pytest.param(signal.SIGTERM, "track", marks=pytest.mark.full),
    ],
)
def test_a_process_dies_right_after_its_run(both, processes, tmp_path, ended_by, mended_by):
    # So far away that nothing of it is there when the process dies.
    both.proxy.latency = 3.0
    process = processes(training.end_a_run_and_die, both.experiment, int(ended_by))
    process.join()
    both.proxy.latency = 0.0
    assert process.exitcode == -ended_by
    (left,) = both.runs()
    assert left.info.status == "FINISHED"
    assert [one.run_id for one in status(both.experiment).out_of_sync] == [left.info.run_id]
    match mended_by:
        case "track":
            track(both.workspace)
        case "a run":
            log_a_run()
        case "catch_up":
            catch_up(experiment=both.experiment).check()
    eventually(lambda: not status(both.experiment).out_of_sync)
    both.assert_equal(tmp_path)


def test_what_a_live_process_is_at_is_left_to_it(threads, both):
    both.proxy.break_down("drop")
    log_a_run()
    flush()
    requests = len(both.proxy.passed)
    with Outbox(current_pair()) as looking:
        looking.bring_over_abandoned()
        eventually(lambda: "adbazureml-abandoned" not in threads())
    assert len(both.proxy.passed) - requests <= 2


def test_a_process_that_ends_without_its_exit(both, processes, tmp_path):
    process = processes(training.many_runs, both.experiment, 5, str(tmp_path / "seconds"))
    process.join()
    # As processes of multiprocessing do: atexit is not heard.
    track(both.workspace)
    eventually(lambda: not status(both.experiment).out_of_sync)
    both.assert_equal(tmp_path / "compared")


def test_modes_and_workspaces_that_change_leave_no_threads(threads, both, server):
    for number in range(4):
        other = AzureMLWorkspace(
            name=f"server{number}", tracking_uri=f"{server.url}/", registry_uri=server.url, url=f"http://page{number}"
        )
        track(other if number % 2 else both.workspace)
        log_a_run()
    track(mode="databricks")
    eventually(lambda: threads() == [])
    track(both.workspace)
    log_a_run()
    assert close()
    eventually(lambda: threads() == [])
    # What is logged later opens it again.
    log_a_run()
    assert flush()
    assert status(both.experiment).out_of_sync == ()


def test_an_outbox_is_closed_by_its_block(threads, both):
    with Outbox(current_pair()) as looking:
        run_id = log_a_run()
        assert flush()
        looking.ended(run_id, deadline=60.0)
    assert close()
    eventually(lambda: threads() == [])


def test_threads_end_although_the_replica_is_away(threads, both):
    both.proxy.break_down("drop")
    log_a_run()
    assert not close()
    eventually(lambda: threads() == [])
    both.proxy.mend()
    eventually(flush)
    assert status(both.experiment).out_of_sync == ()


def test_a_look_that_takes_longer_than_its_outbox_opens_nothing_again(threads, both, monkeypatch):
    run_id = log_a_run()
    assert close()
    eventually(lambda: threads() == [])
    both.proxy.break_down("drop")
    closed, found = threading.Event(), threading.Event()

    def found_late(*_):
        assert closed.wait(60)
        found.set()
        return [run_id]

    monkeypatch.setattr(outbox, "find_abandoned_runs", found_late)
    with Outbox(current_pair()) as looking:
        looking.bring_over_abandoned()
    closed.set()
    assert found.wait(60)
    eventually(lambda: threads() == [], seconds=30.0)


@pytest.mark.usefixtures("soon_again")
def test_an_outage_is_over_and_the_same_process_catches_up_by_itself(both, tmp_path):
    both.proxy.break_down("drop")
    for _ in range(5):
        log_a_run()
    assert not flush()
    time.sleep(0.1)
    both.proxy.mend()
    eventually(lambda: len(both.counterparts()) == 5 and not status(both.experiment).out_of_sync)
    both.assert_equal(tmp_path)
