import logging
import math
import os
import shutil

import mlflow
import pytest
from sklearn.linear_model import LinearRegression

from adbazureml import catch_up, track
from adbazureml.azureml_mlflow.experiment_names import azureml_experiment_name
from adbazureml.errors import TrackingError
from adbazureml.tracking import flush

EXPERIMENT = "/Users/ada@example.com/houses/prices"


def counterpart_of(azureml, run):
    """The Azure ML run that carries the Databricks run's id, found as another client would."""
    flush()
    experiment = azureml.get_experiment_by_name(azureml_experiment_name(EXPERIMENT))
    found = azureml.search_runs(
        [experiment.experiment_id], f"tags.`adbazureml.databricks.run_id` = '{run.info.run_id}'"
    )
    assert len(found) == 1
    return found[0]


def history(client, run, key):
    return sorted((point.step, point.timestamp, str(point.value)) for point in client.get_metric_history(run, key))


def test_everything_a_run_tracks_stands_in_both(workspace, azureml, databricks, log_model, rows):
    track(workspace)
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(run_name="whole", tags={"team": "prices"}) as run:
        mlflow.log_params({"depth": 3, "text": "ä ö"})
        log_model()
        for step in range(25):
            mlflow.log_metric("epoch_loss", 1 / (step + 1), step=step)
        mlflow.log_metric("odd", math.nan)
        mlflow.log_metric("odd", math.inf, step=1)
        mlflow.log_input(mlflow.data.from_pandas(rows, name="houses"), "training")
        mlflow.log_text("hello", "notes/hello.txt")
    run = databricks.get_run(run.info.run_id)
    counterpart = counterpart_of(azureml, run)

    assert counterpart.data.params == run.data.params
    assert counterpart.info.status == run.info.status == "FINISHED"
    assert (counterpart.info.start_time, counterpart.info.end_time) == (run.info.start_time, run.info.end_time)
    assert counterpart.info.run_name == "whole"
    for tag in ("team", "mlflow.user", "mlflow.source.name"):
        assert counterpart.data.tags[tag] == run.data.tags[tag]
    for metric in ("epoch_loss", "odd"):
        ours, theirs = history(databricks, run.info.run_id, metric), history(azureml, counterpart.info.run_id, metric)
        assert ours == theirs
        assert len(ours) == {"epoch_loss": 25, "odd": 2}[metric]
    assert [one.dataset.name for one in counterpart.inputs.dataset_inputs] == ["houses"]
    artifacts = f"{counterpart.info.artifact_uri}/notes/hello.txt"
    assert mlflow.artifacts.load_text(artifacts) == "hello"
    # An ordinary MLflow model among the run's artifacts, for whoever has no logged models.
    copied = mlflow.pyfunc.load_model(f"{counterpart.info.artifact_uri}/model")
    assert copied.predict(rows) == pytest.approx(rows["a"] * 2 + rows["b"])


def test_each_side_leads_to_the_other(workspace, azureml, databricks):
    track(workspace)
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run() as run:
        pass
    assert flush()
    run = databricks.get_run(run.info.run_id)
    counterpart = counterpart_of(azureml, run)
    assert run.data.tags["adbazureml.azureml.run_id"] == counterpart.info.run_id
    assert run.data.tags["adbazureml.azureml.run_url"].endswith(f"/runs/{counterpart.info.run_id}")
    assert counterpart.data.tags["adbazureml.databricks.run_url"].endswith(f"/runs/{run.info.run_id}")
    experiment = azureml.get_experiment(counterpart.info.experiment_id)
    assert experiment.tags["adbazureml.databricks.experiment"] == EXPERIMENT


def test_nested_runs_stand_under_their_counterpart_parent(workspace, azureml):
    track(workspace)
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run() as parent, mlflow.start_run(nested=True) as child:
        mlflow.log_param("fold", 1)
    assert counterpart_of(azureml, child).data.tags["mlflow.parentRunId"] == counterpart_of(azureml, parent).info.run_id


def test_a_failed_run_is_replicated_as_failed(workspace, azureml):
    track(workspace)
    mlflow.set_experiment(EXPERIMENT)
    run = mlflow.start_run()
    with pytest.raises(RuntimeError), run:
        raise RuntimeError("training broke off")
    assert counterpart_of(azureml, run).info.status == "FAILED"


def test_autologging_reaches_both(workspace, azureml, rows):
    track(workspace)
    mlflow.set_experiment(EXPERIMENT)
    mlflow.sklearn.autolog(log_models=False)
    try:
        with mlflow.start_run() as run:
            LinearRegression().fit(rows, rows["a"])
    finally:
        mlflow.sklearn.autolog(disable=True)
    counterpart = counterpart_of(azureml, run)
    assert counterpart.data.params["fit_intercept"] == "True"
    assert "training_r2_score" in counterpart.data.metrics


def test_catching_up_brings_later_changes_and_a_second_time_changes_nothing(workspace, azureml, databricks):
    track(workspace)
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 1.0, step=0)
        mlflow.log_text("one", "note.txt")
    assert flush()
    track(mode="databricks")
    databricks.set_tag(run.info.run_id, "reviewed", "yes")
    databricks.log_metric(run.info.run_id, "loss", 0.5, step=1)
    databricks.log_text(run.info.run_id, "second", "note.txt")
    track(workspace)
    first = catch_up(experiment=EXPERIMENT)
    assert [(one.in_sync, one.written) for one in first.runs] == [(True, 3)]
    counterpart = counterpart_of(azureml, run)
    assert counterpart.data.tags["reviewed"] == "yes"
    assert mlflow.artifacts.load_text(f"{counterpart.info.artifact_uri}/note.txt") == "second"
    second = catch_up(experiment=EXPERIMENT)
    assert [(one.in_sync, one.written) for one in second.runs] == [(True, 0)]
    assert counterpart_of(azureml, run).data.tags == counterpart.data.tags


def test_runs_from_before_are_brought_over(workspace, azureml):
    track(mode="databricks")
    mlflow.set_experiment(EXPERIMENT)
    for number in range(3):
        with mlflow.start_run():
            mlflow.log_param("number", number)
    track(workspace)
    assert len(catch_up(experiment=EXPERIMENT).runs) == 3
    experiment = azureml.get_experiment_by_name(azureml_experiment_name(EXPERIMENT))
    params = {run.data.params["number"] for run in azureml.search_runs([experiment.experiment_id])}
    assert params == {"0", "1", "2"}


def test_training_goes_on_while_azure_ml_is_away(workspace, azureml, caplog, tmp_path):
    track(workspace)
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run():
        pass
    assert flush()
    artifacts = tmp_path / "azureml" / "artifacts"
    shutil.rmtree(artifacts, ignore_errors=True)
    artifacts.write_text("a file where the folder should be: no artifact can be written")
    with caplog.at_level(logging.WARNING, "adbazureml"), mlflow.start_run() as run:
        mlflow.log_metric("loss", 1.0)
        mlflow.log_text("hello", "hello.txt")
    assert mlflow.get_run(run.info.run_id).info.status == "FINISHED"
    assert not flush()
    assert f"catch_up(run_ids=['{run.info.run_id}']) mends it" in caplog.text
    still = catch_up(experiment=EXPERIMENT)
    assert [one.run_id for one in still.out_of_sync] == [run.info.run_id]
    with pytest.raises(TrackingError, match=f"1 of 2 runs are not equal in both workspaces:\n  {run.info.run_id}"):
        still.check()
    artifacts.unlink()
    catch_up(experiment=EXPERIMENT).check()
    assert mlflow.artifacts.load_text(f"{counterpart_of(azureml, run).info.artifact_uri}/hello.txt") == "hello"


def test_strict_lets_the_end_of_the_run_fail(workspace, tmp_path):
    track(workspace, strict=True)
    mlflow.set_experiment(EXPERIMENT)
    (tmp_path / "azureml" / "mlflow.db").write_text("not a database " * 100)
    with pytest.raises(TrackingError, match="is not whole in Azure ML yet"), mlflow.start_run():
        pass


def test_modes_change_back_and_forth(workspace, azureml, databricks):
    def names(client):
        return sorted(
            run.info.run_name
            for experiment in client.search_experiments()
            for run in client.search_runs([experiment.experiment_id])
        )

    for number, mode in enumerate(("databricks", "both", "azureml", "databricks", "both")):
        track(workspace, mode=mode)
        mlflow.set_experiment(EXPERIMENT)
        with mlflow.start_run(run_name=f"{number}-{mode}"):
            pass
    assert flush()
    assert names(databricks) == ["0-databricks", "1-both", "3-databricks", "4-both"]
    assert names(azureml) == ["1-both", "2-azureml", "4-both"]
    track(mode="databricks")
    assert not [name for name in os.environ if name.startswith("_ADBAZUREML")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mode": "twice"}, "mode 'twice': expected"),
        ({"mode": "both"}, "mode 'both' needs an Azure ML workspace"),
    ],
)
def test_a_wrong_mode_is_told(arguments, said):
    with pytest.raises(TrackingError, match=said):
        track(**arguments)


def test_an_experiment_that_is_not_there_is_told(workspace):
    track(workspace)
    with pytest.raises(TrackingError, match="experiment '/nowhere': there is none"):
        catch_up(experiment="/nowhere")


def test_what_another_run_left_in_the_environment_is_named(workspace, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0123")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://elsewhere.example")
    with caplog.at_level(logging.WARNING, "adbazureml"):
        track(workspace)
    assert "The environment holds MLFLOW_RUN_ID of another run at https://elsewhere.example" in caplog.text


@pytest.mark.parametrize("mode", ["both", "azureml"])
def test_without_a_workspace_tracking_stays_as_it_was(workspace, azureml, mode):
    track(workspace)
    with pytest.raises(TrackingError, match="needs an Azure ML workspace"):
        track(mode=mode)
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.5)
    assert counterpart_of(azureml, run).data.metrics == {"loss": 0.5}
