import math
import threading
import time
from pathlib import Path

import mlflow
import pytest
from mlflow.models import Model
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from tests.service.tracking.both import eventually, points

from adbazureml import catch_up, track
from adbazureml.azureml_mlflow.experiment_names import azureml_experiment_name
from adbazureml.errors import TrackingError
from adbazureml.tracking import flush, status


def test_a_whole_run_is_in_sync_when_its_block_ends(both, tmp_path, log_model, rows):
    with mlflow.start_run(run_name="whole", tags={"team": "prices"}) as run:
        mlflow.log_params({"depth": 3, "text": "ä ö"})
        log_model()
        for step in range(25):
            mlflow.log_metric("epoch_loss", 1 / (step + 1), step=step)
        mlflow.log_metric("odd", math.nan)
        mlflow.log_metric("odd", math.inf, step=1)
        mlflow.log_input(mlflow.data.from_pandas(rows, name="houses"), "training")
        mlflow.log_text("hello", "notes/hello.txt")
        with mlflow.start_run(nested=True, run_name="fold"):
            mlflow.log_metric("fold", 1.0)
    assert flush()
    both.assert_equal(tmp_path)
    assert status(both.experiment).out_of_sync == ()
    counterpart = both.counterpart_of(run.info.run_id)
    page = f"http://azureml/experiments/{counterpart.info.experiment_id}/runs/{counterpart.info.run_id}"
    assert f'<a href="{page}"' in status(both.experiment)._repr_html_()
    assert (
        counterpart.data.tags["adbazureml.in_sync"]
        == both.primary.get_run(run.info.run_id).data.tags["adbazureml.in_sync"]
    )


def test_a_point_is_seen_in_the_replica_within_ten_seconds(both):
    with mlflow.start_run() as run:
        start = time.monotonic()
        mlflow.log_metric("loss", 1.0)
        counterpart = eventually(both.counterparts, 10.0)[0]
        eventually(
            lambda: both.replica.get_metric_history(counterpart.info.run_id, "loss"), 10.0 - time.monotonic() + start
        )
        assert both.replica.get_run(counterpart.info.run_id).info.status == "RUNNING"
        assert both.primary.get_run(run.info.run_id).data.tags["adbazureml.azureml.run_id"] == counterpart.info.run_id


def test_a_run_of_hundreds_of_points_takes_few_requests(both):
    start = time.monotonic()
    with mlflow.start_run():
        mlflow.log_params({f"param{number}": number for number in range(20)})
        for step in range(250):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_text("x" * 2**20, "big.txt")
    assert flush()
    artifacts = both.proxy.requests_to("/mlflow-artifacts/")
    # Where a busy machine takes longer, a batch goes out every five seconds.
    assert len(both.proxy.passed) - len(artifacts) <= max(12, 10 + (time.monotonic() - start) / 5)
    assert len(artifacts) == 1


def test_later_changes_follow(both, tmp_path):
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 1.0, step=5)
        mlflow.set_tag("colour", "red")
    assert flush()
    run_id = run.info.run_id
    client = mlflow.MlflowClient()
    client.set_tag(run_id, "reviewed", "yes")
    client.delete_tag(run_id, "colour")
    # Not the last point of its history: a look at the run does not show it.
    client.log_metric(run_id, "loss", 2.0, step=1)
    assert [one.run_id for one in status(both.experiment).out_of_sync] == [run_id]
    assert flush()
    both.assert_equal(tmp_path / "changed")
    assert status(both.experiment).out_of_sync == ()
    client.update_run(run_id, name="renamed")
    with mlflow.start_run(run_id=run_id):
        mlflow.log_metric("loss", 3.0, step=6)
        mlflow.log_text("more", "note.txt")
    both.assert_equal(tmp_path / "resumed")
    client.delete_run(run_id)
    assert flush()
    assert both.counterparts() == []
    client.restore_run(run_id)
    assert flush()
    both.assert_equal(tmp_path / "restored")


def test_a_in_sync_run_costs_three_requests(both):
    with mlflow.start_run() as run:
        for number in range(8):
            mlflow.log_metric(f"metric{number}", number)
            mlflow.log_text("note", f"folder{number}/note.txt")
    assert flush()
    both.proxy.passed.clear()
    outcome = catch_up(run_ids=[run.info.run_id]).runs[0]
    assert (outcome.in_sync, outcome.written) == (True, 0)
    # One look at the primary comes on top, which is a file here.
    assert len(both.proxy.passed) <= 2


def test_many_in_sync_runs_cost_two_lists(both):
    for number in range(4):
        with mlflow.start_run():
            mlflow.log_param("number", number)
    assert flush()
    both.proxy.passed.clear()
    assert [run.in_sync for run in catch_up(experiment=both.experiment).runs] == [True] * 4
    assert len(both.proxy.passed) <= 2


def test_a_tag_on_an_ended_run_costs_no_file(both, tmp_path):
    with mlflow.start_run() as run:
        mlflow.log_text("x" * 2**20, "weights.bin")
    assert flush()
    both.proxy.passed.clear()
    mlflow.MlflowClient().set_tag(run.info.run_id, "reviewed", "yes")
    assert flush()
    assert status(both.experiment).out_of_sync == ()
    assert both.proxy.requests_to("/mlflow-artifacts/") == []
    # The same size, in a run that is taken up again: it is read.
    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.log_text("y" * 2**20, "weights.bin")
    both.assert_equal(tmp_path / "resumed")


@pytest.fixture
def ended(both):
    """Id of a run with a few files that is in sync."""
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.5)
        for number in range(4):
            mlflow.log_text("x" * 1000, f"folder{number}/big.txt")
    assert flush()
    both.proxy.passed.clear()
    return run.info.run_id


def test_files_that_are_added_after_the_end_follow_by_themselves(both, tmp_path, ended):
    client = mlflow.MlflowClient()
    client.log_text(ended, "late", "late.txt")
    assert [one.run_id for one in status(both.experiment).out_of_sync] == [ended]
    assert flush()
    # Nothing else is read for it.
    assert [request.method for request in both.proxy.requests_to("/mlflow-artifacts/artifacts/")] == ["PUT"]
    both.assert_equal(tmp_path / "added")
    client.log_text(ended, "late, and longer", "late.txt")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "figure.svg").write_text("<svg/>")
    client.log_artifacts(ended, str(tmp_path / "more"), "more")
    assert flush()
    both.assert_equal(tmp_path / "overwritten")
    assert status(both.experiment).out_of_sync == ()
    # What is deleted stays in the replica, and is no reason to look again.
    get_artifact_repository(both.primary.get_run(ended).info.artifact_uri).delete_artifacts("late.txt")
    assert catch_up(run_ids=[ended]).out_of_sync == ()
    both.proxy.passed.clear()
    assert catch_up(run_ids=[ended]).out_of_sync == ()
    assert len(both.proxy.passed) <= 3
    kept = both.replica.list_artifacts(both.counterpart_of(ended).info.run_id)
    assert "late.txt" in [entry.path for entry in kept]


@pytest.mark.parametrize("by", ["experiment", "run_ids"])
def test_files_that_others_add_after_the_end_are_found(both, tmp_path, ended, by):
    catch = {"experiment": both.experiment} if by == "experiment" else {"run_ids": [ended]}

    def write(text):
        # In one workspace only, as whoever has not this package does.
        track(mode="databricks")
        mlflow.MlflowClient().log_text(ended, text, "folder0/late.txt")
        track(both.workspace)
        both.proxy.passed.clear()

    write("late")
    (outcome,) = catch_up(**catch).runs
    assert (outcome.in_sync, outcome.written) == (True, 1)
    assert [request.method for request in both.proxy.requests_to("/mlflow-artifacts/artifacts/")] == ["PUT"]
    both.assert_equal(tmp_path / "added")
    write("late, and longer")
    assert catch_up(**catch).runs[0].written == 1
    both.assert_equal(tmp_path / "longer")
    write("late, and lonely")
    # A listing does not tell it.
    assert catch_up(**catch).runs[0].written == 0
    assert len(both.proxy.passed) <= 3
    assert catch_up(**catch, verify=True).runs[0].written == 1
    both.assert_equal(tmp_path / "lonely")


def test_a_late_file_waits_for_a_replica_that_is_away(both, tmp_path, ended):
    both.proxy.break_down("drop")
    mlflow.MlflowClient().log_text(ended, "late", "late.txt")
    assert not flush()
    assert [one.run_id for one in status(both.experiment).out_of_sync] == [ended]
    both.proxy.mend()
    catch_up(run_ids=[ended]).check()
    both.assert_equal(tmp_path)


@pytest.mark.parametrize("in_mid_run", [False, True])
def test_models_of_one_name_have_folders_of_their_own(both, tmp_path, log_model, model, rows, in_mid_run):
    """`mlflow.spark` logs its models among the artifacts of the run, where a logged model's folder goes."""
    with mlflow.start_run() as run:
        first = log_model().model_id
        if in_mid_run:
            # As `register` does.
            catch_up(run_ids=[run.info.run_id]).check()
        options = {"sk_model": model, "pip_requirements": ["scikit-learn==1.6.1"]}
        Model._log_v2(artifact_path="model", flavor=mlflow.sklearn, **options)
        second = log_model().model_id
    assert flush()
    counterpart = both.counterpart_of(run.info.run_id)
    folders = {entry.path for entry in both.replica.list_artifacts(counterpart.info.run_id)}
    of_spark, of_first = ("model-run", "model") if in_mid_run else ("model", f"model-{first}")
    assert folders == {of_spark, of_first, f"model-{second}"}
    for folder in folders:
        local = Path(both.replica.download_artifacts(counterpart.info.run_id, folder, str(tmp_path)))
        assert mlflow.sklearn.load_model(str(local)).predict(rows) == pytest.approx(model.predict(rows))
        # Only the logged ones have an example.
        assert (local / "input_example.json").exists() == (folder != of_spark)


def test_the_tags_of_an_experiment_follow(both):
    def tags():
        return both.replica.get_experiment_by_name(azureml_experiment_name(both.experiment)).tags

    mlflow.set_experiment_tags({"mlflow.note.content": "first", "team:x": "prices"})
    with mlflow.start_run():
        pass
    assert flush()
    assert {"mlflow.note.content": "first", "team.x": "prices"}.items() <= tags().items()
    mlflow.set_experiment_tag("mlflow.note.content", "second")
    with mlflow.start_run():
        pass
    assert flush()
    assert tags()["mlflow.note.content"] == "second"
    track(mode="databricks")
    mlflow.set_experiment_tag("mlflow.note.content", "third")
    track(both.workspace)
    catch_up(experiment=both.experiment)
    assert tags()["mlflow.note.content"] == "third"


def test_the_outcome_of_catching_up_is_told_once_and_a_task_can_fail(both, capsys):
    with mlflow.start_run(run_name="one") as run:
        pass
    assert flush()
    capsys.readouterr()
    outcome = catch_up(experiment=both.experiment)
    assert capsys.readouterr().out == ""
    assert str(outcome) == repr(outcome) == "1 of 1 runs are equal in both workspaces; 0 items were written."
    track(mode="databricks")
    both.primary.set_tag(run.info.run_id, "reviewed", "yes")
    track(both.workspace)
    both.proxy.break_down("drop")
    with pytest.raises(TrackingError, match=f"1 of 1 runs are not equal in both workspaces:\n  {run.info.run_id}"):
        catch_up(run_ids=[run.info.run_id]).check()
    both.proxy.mend()
    catch_up(run_ids=[run.info.run_id]).check()


def test_a_mode_that_becomes_strict_in_mid_run_doubles_nothing(both, tmp_path):
    with mlflow.start_run():
        mlflow.log_metric("odd", math.nan, step=0)
        track(both.workspace, strict=True)
        mlflow.log_metric("odd", math.nan, step=1)
    both.assert_equal(tmp_path)
    assert not both.proxy.requests_to("metrics/get-history")


def test_runs_in_threads(both, tmp_path):
    def train(number):
        with mlflow.start_run(run_name=f"thread{number}"):
            for step in range(30):
                mlflow.log_metrics({"a": step * number, "b": -step}, step=step)

    threads = [threading.Thread(target=train, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert flush()
    both.assert_equal(tmp_path)


@pytest.mark.parametrize("buffered", [False, True])
def test_asynchronous_logging_reaches_both(both, tmp_path, monkeypatch, buffered):
    if buffered:
        monkeypatch.setenv("MLFLOW_ASYNC_LOGGING_BUFFERING_SECONDS", "1")
    mlflow.config.enable_async_logging()
    try:
        with mlflow.start_run() as run:
            for step in range(200):
                mlflow.log_metric("loss", step, step=step)
            mlflow.log_param("p", 1)
    finally:
        mlflow.config.enable_async_logging(False)
    assert len(points(both.primary, run, "loss")) == 200
    both.assert_equal(tmp_path)
    assert len(both.proxy.requests_to("log-batch")) <= 6


def test_modes_change_back_and_forth(both):
    for number, mode in enumerate(("databricks", "both", "azureml", "databricks", "both")):
        track(both.workspace, mode=mode)
        mlflow.set_experiment(both.experiment if mode != "azureml" else "plain")
        with mlflow.start_run(run_name=f"{number}-{mode}"):
            mlflow.log_metric("loss", number)
    assert flush()
    names = sorted(run.info.run_name for run in both.runs())
    assert names == ["0-databricks", "1-both", "3-databricks", "4-both"]
    assert sorted(run.info.run_name for run in both.counterparts()) == ["1-both", "4-both"]


def test_a_resumed_run_of_before_is_brought_over(both, tmp_path):
    track(mode="databricks")
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 1.0, step=0)
    track(both.workspace)
    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.log_metric("loss", 0.5, step=1)
    both.assert_equal(tmp_path)


def test_since_finds_what_ended_since(both, tmp_path):
    track(mode="databricks")
    with mlflow.start_run():
        mlflow.log_metric("loss", 1.0)
    later = time.time() + 3600
    track(both.workspace)
    assert catch_up(since=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(later))).runs == ()
    assert len(both.counterparts()) == 0
    catch_up(since=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(later - 3700)))
    both.assert_equal(tmp_path)


@pytest.mark.parametrize("key", ["team:prices"])
def test_a_tag_key_that_azure_ml_refuses_is_spelled_otherwise(both, key):
    with mlflow.start_run() as run:
        mlflow.set_tag(key, "yes")
    assert both.counterpart_of(run.info.run_id).data.tags["team.prices"] == "yes"
