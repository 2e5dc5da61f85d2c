"""The replica breaks in every way we know: training goes on, and in the end nothing is lost and nothing doubled."""

import logging
import math
import os
import resource
import subprocess
import sys
import tempfile
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import mlflow
import numpy as np
import pytest
from mlflow.entities import Metric
from tests.service.tracking.both import eventually

from adbazureml import catch_up, track
from adbazureml.errors import TrackingError
from adbazureml.tracking import flush, run_tags, status


def train(steps=30):
    with mlflow.start_run() as run:
        mlflow.log_params({"depth": 3, "rate": 0.1})
        for step in range(steps):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metric("odd", math.nan, step=1)
        mlflow.log_metric("odd", math.inf, step=2)
        mlflow.log_text("hello", "notes/hello.txt")
    return run


def is_in_sync(both):
    return both.runs() and not status(both.experiment).out_of_sync


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("status", {"status": 429, "retry_after": 1}),
        ("status", {"status": 500}),
        ("status", {"status": 503}),
        ("drop", {}),
        ("lose", {}),
        ("hang", {}),
    ],
)
@pytest.mark.usefixtures("soon_again")
def test_the_replica_fails_for_a_while(both, tmp_path, monkeypatch, kind, options):
    if kind == "hang":
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    both.proxy.break_down(kind, count=5, **options)
    train()
    eventually(lambda: is_in_sync(both))
    both.assert_equal(tmp_path)


@pytest.mark.parametrize("path", ["experiments/create", "runs/create", "log-batch", "runs/update", "mlflow-artifacts"])
@pytest.mark.usefixtures("soon_again")
def test_answers_get_lost(both, tmp_path, path):
    # MLflow's client tries each request twice here, so that a create happens twice.
    both.proxy.break_down("lose", path=path, count=2)
    train()
    eventually(lambda: is_in_sync(both))
    both.assert_equal(tmp_path)


def test_a_create_arrives_twice_before_the_replica_is_away(both, tmp_path):
    both.proxy.break_down("lose", path="runs/create", count=1)
    with mlflow.start_run():
        mlflow.log_metric("loss", 1.0)
        assert flush()
        assert len(both.counterparts()) == 2
        both.proxy.break_down("drop")
    both.proxy.mend()
    assert catch_up(experiment=both.experiment).out_of_sync == ()
    both.assert_equal(tmp_path)


def test_a_tag_is_deleted_while_the_replica_is_away(both):
    with mlflow.start_run() as run:
        mlflow.set_tag("team", "prices")
        assert flush()
        both.replica.set_tag(both.counterpart_of(run.info.run_id).info.run_id, "theirs", "kept")
        both.proxy.break_down("drop")
        mlflow.delete_tag("team")
    both.proxy.mend()
    assert catch_up(experiment=both.experiment).out_of_sync == ()
    tags = both.counterpart_of(run.info.run_id).data.tags
    assert "team" not in tags
    assert tags["theirs"] == "kept"


def test_the_replica_is_down_the_whole_run(both, tmp_path, caplog):
    both.proxy.break_down("drop")
    with caplog.at_level(logging.WARNING, "adbazureml"):
        run = train()
        assert not flush()
    assert caplog.text.count(f"catch_up(run_ids=['{run.info.run_id}']) mends it") == 1
    state = status(both.experiment).out_of_sync[0]
    assert (state.run_id, state.counterpart_run_id) == (run.info.run_id, "")
    assert "failed with exception" in state.reason
    assert catch_up(experiment=both.experiment).out_of_sync
    both.proxy.mend()
    assert catch_up(experiment=both.experiment).out_of_sync == ()
    both.assert_equal(tmp_path)


@pytest.mark.usefixtures("soon_again")
def test_training_never_waits_for_a_replica_that_is_away(both):
    start = time.monotonic()
    train()
    for _ in range(2):
        train(steps=3)
    plain = time.monotonic() - start
    assert flush()
    both.proxy.break_down("hang")
    start = time.monotonic()
    train()
    for _ in range(2):
        train(steps=3)
    # One request that hangs takes longer than that.
    assert time.monotonic() - start < 2 * plain + 3.0
    both.proxy.mend()
    eventually(lambda: is_in_sync(both))


@pytest.mark.usefixtures("soon_again")
def test_the_replica_comes_back_half_way(both, tmp_path):
    both.proxy.break_down("drop")
    with mlflow.start_run():
        for step in range(30):
            mlflow.log_metric("loss", step, step=step)
        # Not the outbox alone: the counterpart does not exist yet, either.
        flush()
        both.proxy.mend()
        for step in range(30, 60):
            mlflow.log_metric("loss", step, step=step)
            mlflow.log_metric("odd", math.nan, step=step)
            time.sleep(0.05)
    eventually(lambda: is_in_sync(both))
    both.assert_equal(tmp_path)


def test_more_is_logged_than_finds_room(both, tmp_path, monkeypatch):
    monkeypatch.setattr("adbazureml.tracking.outbox.CAPACITY", 20)
    client = mlflow.MlflowClient()
    experiment_id = client.get_experiment_by_name(both.experiment).experiment_id
    first, second = (client.create_run(experiment_id).info.run_id for _ in range(2))
    assert flush()
    for step in range(19):
        client.log_metric(first, "loss", step, step=step)
    # These find no room, and nothing of this run waited before.
    client.log_batch(second, [Metric("loss", 1.0, 1_700_000_000_000, step) for step in range(3)])
    time.sleep(0.2)
    assert flush()
    both.assert_equal(tmp_path)
    client.set_terminated(first)
    client.set_terminated(second)
    both.assert_equal(tmp_path / "ended")


def test_a_tag_is_refused_for_good(both, tmp_path, caplog):
    both.proxy.break_down("status", path="log-batch", body=b"unwanted", status=400)
    with caplog.at_level(logging.WARNING, "adbazureml"), mlflow.start_run() as run:
        mlflow.set_tags({f"tag{number}": "fine" for number in range(10)} | {"bad": "unwanted"})
        mlflow.log_metric("loss", 1.0)
    assert flush()
    counterpart = both.counterpart_of(run.info.run_id)
    assert "bad" not in counterpart.data.tags
    assert sum(key.startswith("tag") for key in counterpart.data.tags) == 10
    assert caplog.text.count("rejected for good: tag bad") == 1
    requests = len(both.proxy.passed)
    assert catch_up(run_ids=[run.info.run_id]).runs[0].written == 0
    assert len(both.proxy.passed) - requests <= 2
    both.proxy.mend()
    mlflow.MlflowClient().delete_tag(run.info.run_id, "bad")
    assert flush()
    both.assert_equal(tmp_path)


def test_all_points_of_a_metric_are_refused_for_good(both, tmp_path):
    both.proxy.break_down("status", path="log-batch", body=b'"key": "unwanted"', status=400)
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 1.0)
        for step in range(300):
            mlflow.log_metric("unwanted", step, step=step)
    assert flush()
    (outcome,) = catch_up(run_ids=[run.info.run_id]).runs
    assert "rejected for good: metric unwanted" in outcome.reason
    assert set(both.counterpart_of(run.info.run_id).data.metrics) == {"loss"}
    assert len(both.proxy.requests_to("log-batch")) < 60
    both.proxy.mend()
    assert catch_up(run_ids=[run.info.run_id], verify=True).out_of_sync == ()
    both.assert_equal(tmp_path)


def test_an_artifact_is_refused_for_good(both, caplog):
    both.proxy.break_down("status", path="mlflow-artifacts/.*bad.txt", status=409)
    with caplog.at_level(logging.WARNING, "adbazureml"), mlflow.start_run() as run:
        for name in ("good", "bad", "fine"):
            mlflow.log_text(name, f"notes/{name}.txt")
    counterpart = both.counterpart_of(run.info.run_id)
    names = [entry.path for entry in both.replica.list_artifacts(counterpart.info.run_id, "notes")]
    assert names == ["notes/fine.txt", "notes/good.txt"]
    assert caplog.text.count("rejected for good: file notes/bad.txt") == 1
    assert status(both.experiment).out_of_sync == ()


def test_a_counterpart_that_was_deleted_stands_again(both, tmp_path):
    run = train()
    both.replica.delete_run(both.counterpart_of(run.info.run_id).info.run_id)
    assert catch_up(run_ids=[run.info.run_id]).runs[0].in_sync
    both.assert_equal(tmp_path)


@pytest.mark.usefixtures("soon_again")
def test_strict_fails_and_the_run_stays(both, tmp_path):
    track(both.workspace, strict=True)
    both.proxy.break_down("drop")
    with pytest.raises(TrackingError, match=r"catch_up\(run_ids="):
        train()
    assert [run.info.status for run in both.runs()] == ["FINISHED"]
    both.proxy.mend()
    eventually(lambda: is_in_sync(both))
    both.assert_equal(tmp_path)


def test_what_the_primary_refuses_does_not_reach_the_replica(both, tmp_path):
    with mlflow.start_run():
        mlflow.log_param("depth", 3)
        with pytest.raises(mlflow.MlflowException):
            mlflow.log_param("depth", 4)
        with pytest.raises(mlflow.MlflowException):
            mlflow.log_metric("loss/\0bad", 1.0)
        with pytest.raises(mlflow.MlflowException):
            mlflow.MlflowClient().log_metric("0" * 32, "loss", 1.0)
    both.assert_equal(tmp_path)


def test_a_full_disk_for_temporary_files(both, tmp_path, monkeypatch):
    with mlflow.start_run() as run:
        mlflow.log_text("small", "small.txt")
        mlflow.log_text("x" * 3_000_000, "large.txt")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        # A file that grows further fails, as it does where the disk is full.
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        assert "large.txt" in catch_up(run_ids=[run.info.run_id]).out_of_sync[0].reason
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert catch_up(run_ids=[run.info.run_id]).out_of_sync == ()
    both.assert_equal(tmp_path / "compared")


def test_the_interpreter_leaves_although_the_replica_hangs(both, tmp_path):
    both.proxy.break_down("hang")
    script = f"""
        import atexit, time
        # What is registered first comes last.
        atexit.register(lambda: print(time.time() - leaving, flush=True))
        import mlflow
        mlflow.set_experiment({both.experiment!r})
        mlflow.start_run()
        mlflow.log_metric("loss", 1.0)
        leaving = time.time()
    """
    environment = {**os.environ, "MLFLOW_HTTP_REQUEST_TIMEOUT": "120"}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=400)
    # Eight, and what a busy machine adds; a request that hangs would take longer.
    assert float(done.stdout.split()[-1]) < 25.0
    assert "mends it" in done.stderr
    both.proxy.mend()
    assert catch_up(experiment=both.experiment).out_of_sync == ()
    both.assert_equal(tmp_path)


def test_a_script_that_never_ends_its_run_is_whole_at_exit(both, tmp_path):
    script = f"""
        import mlflow
        from adbazureml.tracking import outbox
        # However slow this machine is.
        outbox.EXIT_DEADLINE = 200.0
        mlflow.set_experiment({both.experiment!r})
        mlflow.start_run()
        mlflow.log_metrics({{f"metric{{number}}": number for number in range(10)}})
        mlflow.log_text("hello", "hello.txt")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, check=True, timeout=400)
    assert status(both.experiment).out_of_sync == ()
    both.assert_equal(tmp_path)


def test_what_another_catch_up_wrote_a_moment_before_is_no_failure(both, tmp_path):
    track(mode="databricks")
    with mlflow.start_run() as run:
        mlflow.log_params({"depth": 3, "rate": 0.1})
        mlflow.log_metrics({"loss": 0.5, "odd": math.nan})
        mlflow.log_input(mlflow.data.from_numpy(np.zeros((3, 2)), name="rows"), "training")
    track(both.workspace)
    # As MLflow's server answers where two write the same row at once.
    said = b'{"error_code": "BAD_REQUEST", "message": "(sqlite3.IntegrityError) UNIQUE constraint failed: tags.key"}'
    for path, count in (("log-batch", 3), ("runs/log-inputs", 1), ("runs/update", 1)):
        both.proxy.break_down("status", path=path, count=count, status=400, answer=said)
    (outcome,) = catch_up(run_ids=[run.info.run_id]).runs
    assert (outcome.in_sync, outcome.rejected, outcome.reason) == (True, 0, "")
    both.assert_equal(tmp_path)


def test_two_catch_ups_at_once_find_what_the_other_wrote(both, tmp_path):
    track(mode="databricks")
    for number in range(6):
        with mlflow.start_run():
            mlflow.log_param("number", number)
            mlflow.log_metrics({"loss": 0.5, "odd": math.nan})
            mlflow.log_input(mlflow.data.from_numpy(np.zeros((3, 2)), name="rows"), "training")
    track(both.workspace)
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda _: catch_up(experiment=both.experiment), range(2)))
    assert [(run.in_sync, run.reason) for outcome in outcomes for run in outcome.runs] == [(True, "")] * 12
    both.assert_equal(tmp_path)


def test_a_run_that_is_under_way_is_left_to_its_process(both, tmp_path):
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.5)
        assert flush()
        mlflow.log_text("hello", "hello.txt")
        both.proxy.passed.clear()
        (outcome,) = catch_up(experiment=both.experiment).runs
        assert (outcome.in_sync, outcome.written) == (True, 0)
        assert "its own process" in outcome.reason
        # Two lists, whatever the run holds.
        assert len(both.proxy.passed) <= 3
        # Named, it is brought over as it is now.
        assert catch_up(run_ids=[run.info.run_id]).runs[0].written == 1
    both.assert_equal(tmp_path)


def test_a_run_whose_process_is_gone_is_brought_over_although_its_number_is_taken(both, tmp_path):
    track(mode="databricks")
    client = mlflow.MlflowClient()
    experiment_id = client.get_experiment_by_name(both.experiment).experiment_id
    an_hour_ago = int(time.time() - 3600) * 1000
    # This process is younger than the run.
    tags = {"adbazureml.tracked": run_tags.tracked_by()}
    run_id = client.create_run(experiment_id, start_time=an_hour_ago, tags=tags).info.run_id
    client.log_param(run_id, "depth", 3)
    track(both.workspace)
    (outcome,) = catch_up(experiment=both.experiment).runs
    assert (outcome.in_sync, outcome.reason) == (True, "")
    both.assert_equal(tmp_path)
