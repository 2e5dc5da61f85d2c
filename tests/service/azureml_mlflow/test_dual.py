"""Runs tracked in both workspaces, where the second is Azure ML as the service itself answers."""

import json
import re
import time

import mlflow
import numpy as np
import pytest
from mlflow.entities import Metric, Param, RunTag
from mlflow.models import Model
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tests.service.tracking.both import eventually

from adbazureml import AzureMLWorkspace, DatabricksWorkspace, catch_up, register, track
from adbazureml.azureml_mlflow.experiment_names import azureml_experiment_name
from adbazureml.tracking import flush, status

EXPERIMENT = "/Users/ada@example.com/houses/both"


@pytest.fixture
def workspace(azure, tmp_path, monkeypatch):
    """The emulated Azure ML workspace beside a new local Databricks backend; tracking is on in both."""
    monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
    found = AzureMLWorkspace.get(
        name=azure.workspace_name, subscription_id=azure.subscription_id, resource_group=azure.resource_group
    )
    track(found)
    mlflow.set_experiment(EXPERIMENT)
    yield found
    while mlflow.active_run():
        mlflow.end_run()
    track(mode="databricks")


def counterpart_of(workspace, run):
    assert flush()
    client = workspace.client()
    experiment = client.get_experiment_by_name(azureml_experiment_name(EXPERIMENT))
    (found,) = client.search_runs(
        [experiment.experiment_id], f"tags.`adbazureml.databricks.run_id` = '{run.info.run_id}'"
    )
    return found


def test_a_whole_run_with_its_model(workspace, azure, log_model, rows, model):
    mlflow.sklearn.autolog(log_models=False)
    try:
        with mlflow.start_run() as run:
            LinearRegression().fit(rows, rows["a"])
            # More than one request of Azure ML's takes.
            for step in range(250):
                mlflow.log_metric("loss", 1 / (step + 1), step=step)
            mlflow.log_text("hello", "notes/hello.txt")
            mlflow.log_input(mlflow.data.from_pandas(rows, name="houses"), "training")
            info = log_model()
    finally:
        mlflow.sklearn.autolog(disable=True)
    assert flush()
    ours = DatabricksWorkspace.current().client().get_run(run.info.run_id)
    theirs = counterpart_of(workspace, run)
    assert theirs.data.params == ours.data.params
    assert theirs.data.metrics == pytest.approx(ours.data.metrics)
    assert len(workspace.client().get_metric_history(theirs.info.run_id, "loss")) == 250
    assert theirs.info.status == "FINISHED"
    assert ours.data.tags["adbazureml.azureml.run_url"] == workspace.run_url(
        theirs.info.experiment_id, theirs.info.run_id
    )
    stored = azure.run_artifacts(theirs.info.run_id)
    assert stored["notes/hello.txt"] == b"hello"
    assert "model/MLmodel" in stored
    copied = mlflow.pyfunc.load_model(f"{theirs.info.artifact_uri}/model")
    assert copied.predict(rows) == pytest.approx(mlflow.pyfunc.load_model(info.model_uri).predict(rows))
    # ReconcileResult: looking again costs a few requests and writes nothing.
    azure.requests.clear()
    (outcome,) = catch_up(run_ids=[run.info.run_id]).runs
    assert (outcome.in_sync, outcome.written) == (True, 0)
    assert len(azure.requests) <= 3


def test_two_models_of_one_name_are_the_same_versions_in_both_workspaces(workspace, log_model, model, rows):
    other = LinearRegression().fit(rows, rows["c"])
    with mlflow.start_run() as run:
        # As `mlflow.spark` logs a model: among the artifacts of the run.
        options = {"input_example": rows.head(3), "pip_requirements": ["scikit-learn==1.6.1"]}
        Model._log_v2(artifact_path="model", flavor=mlflow.sklearn, sk_model=other, **options)
        register(f"runs:/{run.info.run_id}/model", name="twice", workspace=workspace)
        log_model()
        register(mlflow.get_run(run.info.run_id), name="twice", workspace=workspace)
    assert flush()
    for client in (DatabricksWorkspace.current().client(), workspace.client()):
        for number, expected in ((1, rows["c"]), (2, model.predict(rows))):
            files = client.get_model_version_download_uri("twice", str(number))
            assert mlflow.sklearn.load_model(files).predict(rows) == pytest.approx(expected)


def test_a_late_file_is_alone_copied(workspace, azure):
    with mlflow.start_run() as run:
        mlflow.log_text("hello", "hello.txt")
    assert flush()
    azure.requests.clear()
    mlflow.MlflowClient().log_text(run.info.run_id, "late", "late.txt")
    assert flush()
    assert len([request for request in azure.requests if request.host == "artifacts"]) == 2
    theirs = counterpart_of(workspace, run)
    assert azure.run_artifacts(theirs.info.run_id) == {"hello.txt": b"hello", "late.txt": b"late"}


def test_an_outage_of_the_whole_run_is_caught_up(workspace, azure, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    azure.fail_next(1000, "/mlflow/", status=503)
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.5)
        mlflow.log_text("hello", "hello.txt")
    assert not flush()
    azure.clear_faults()
    (outcome,) = catch_up(run_ids=[run.info.run_id]).runs
    assert outcome.in_sync
    theirs = counterpart_of(workspace, run)
    assert theirs.data.metrics == {"loss": 0.5}
    assert azure.run_artifacts(theirs.info.run_id) == {"hello.txt": b"hello"}


def test_what_azure_ml_refuses_is_told_and_the_rest_is_in_sync(workspace, caplog):
    with mlflow.start_run() as run:
        mlflow.set_tag("note", "x" * 3000)
        mlflow.set_tag("team:prices", "colon")
        mlflow.log_param("depth", 3)
    (outcome,) = catch_up(run_ids=[run.info.run_id]).runs
    assert outcome.in_sync
    assert "note" in outcome.reason
    theirs = counterpart_of(workspace, run)
    assert theirs.data.params == {"depth": "3"}
    assert theirs.data.tags["team.prices"] == "colon"


def batches(azure):
    return azure.requests_to("runs/log-batch")


def test_an_autologged_pipeline_whose_params_are_too_long_is_whole_but_for_them(workspace, azure, rows):
    names = {f"a_rather_long_name_of_a_column_{number}": number for number in range(30)}
    mlflow.sklearn.autolog(log_models=False)
    try:
        with mlflow.start_run() as run:
            pipeline = make_pipeline(FunctionTransformer(kw_args=None), StandardScaler(), LinearRegression())
            pipeline.set_params(functiontransformer__inv_kw_args=names).fit(rows, rows["a"])
            # In time: a request that is refused does not keep other runs waiting.
            with mlflow.start_run(nested=True) as other:
                mlflow.log_metric("loss", 0.5)
    finally:
        mlflow.sklearn.autolog(disable=True)
    start = time.monotonic()
    assert flush(10.0)
    assert time.monotonic() - start < 10.0
    ours, theirs = DatabricksWorkspace.current().client().get_run(run.info.run_id), counterpart_of(workspace, run)
    assert theirs.info.status == "FINISHED"
    assert theirs.data.metrics == pytest.approx(ours.data.metrics)
    assert theirs.data.metrics
    missing = {key for key in ours.data.params if key not in theirs.data.params}
    assert missing == {key for key, value in ours.data.params.items() if len(value) > 500} != set()
    assert counterpart_of(workspace, other).data.metrics == {"loss": 0.5}
    states = {state.run_id: state for state in status(EXPERIMENT).runs}
    assert {state.state for state in states.values()} == {"in sync"}
    assert "Parameters.Value/Length, Limit=500" in states[run.info.run_id].reason
    assert states[other.info.run_id].reason == ""
    azure.requests.clear()
    (outcome,) = catch_up(run_ids=[run.info.run_id]).runs
    assert (outcome.in_sync, outcome.written, outcome.reason) == (True, 0, states[run.info.run_id].reason)
    assert len(azure.requests) <= 3


@pytest.mark.parametrize(
    "unwanted",
    [
        {"params": [Param(f"long{number}", "x" * (501 + number)) for number in range(300)]},
        {"tags": [RunTag(f"long{number}", "x" * 1001) for number in range(300)]},
        {"tags": [RunTag(f"{number}" + "k" * 100, "x") for number in range(300)]},
        {"tags": [RunTag("mlflow.note.content", "n" * 6000)]},
    ],
    ids=["values of params", "values of tags", "keys of tags", "a description"],
)
def test_hundreds_of_items_are_refused_and_all_else_is_there(workspace, azure, unwanted):
    client = mlflow.MlflowClient()
    ((kind, items),) = unwanted.items()
    azure.requests.clear()
    with mlflow.start_run() as run:
        run_id = run.info.run_id
        client.log_batch(
            run_id,
            [Metric("loss", 0.5, 1_700_000_000_000, 0)],
            params=[Param("depth", "3")],
            tags=[RunTag("team", "prices")],
        )
        for start in range(0, len(items), 100):
            client.log_batch(run_id, **{kind: items[start : start + 100]})
        client.log_batch(run_id, params=[Param("late", "4")])
    assert flush(10.0)
    requests = len(batches(azure))
    theirs = counterpart_of(workspace, run)
    assert theirs.data.params == {"depth": "3", "late": "4"}
    assert theirs.data.metrics == {"loss": 0.5}
    assert theirs.data.tags["team"] == "prices"
    assert theirs.info.status == "FINISHED"
    (state,) = status(EXPERIMENT).runs
    assert state.state == "in sync"
    assert "Limit=" in state.reason
    # What the service said of the first ones tells of the others.
    assert requests <= 15


def test_a_run_that_is_full_in_its_midst_takes_all_else_to_its_end(workspace, azure):
    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:
        for start in range(0, 260, 65):
            client.log_batch(run.info.run_id, params=[Param(f"param{one:03}", "x") for one in range(start, start + 65)])
            mlflow.log_metric("loss", start, step=start)
            assert flush(10.0)
        azure.requests.clear()
        mlflow.log_param("one more", 1)
        assert flush(10.0)
        # It is known that the run takes no more.
        assert batches(azure) == []
    assert flush(10.0)
    theirs = counterpart_of(workspace, run)
    assert sorted(theirs.data.params) == [f"param{one:03}" for one in range(200)]
    assert len(workspace.client().get_metric_history(theirs.info.run_id, "loss")) == 4
    assert theirs.info.status == "FINISHED"
    (state,) = status(EXPERIMENT).runs
    assert state.state == "in sync"
    assert "and 60 more" in state.reason
    assert "FieldName=Parameters, Limit=200" in state.reason


def test_a_run_whose_first_tag_is_refused_has_a_counterpart(workspace):
    with mlflow.start_run(tags={"mlflow.note.content": "n" * 6000, "mlflow.source.name": "s" * 2000}) as run:
        mlflow.log_metric("loss", 0.5)
    assert flush(10.0)
    theirs = counterpart_of(workspace, run)
    assert theirs.data.metrics == {"loss": 0.5}
    assert theirs.info.status == "FINISHED"
    (state,) = status(EXPERIMENT).runs
    assert state.state == "in sync"
    assert "Limit=5000" in state.reason or "Limit=1000" in state.reason


@pytest.mark.parametrize("mode", ["both", "azureml"])
def test_all_that_a_run_can_hold_is_there(workspace, azure, model, rows, log_model, mode):
    track(workspace, mode=mode)
    mlflow.set_experiment(EXPERIMENT)
    table = rows.assign(label=rows["a"] * 2 + rows["b"])

    @mlflow.trace
    def double(value):
        return 2 * value

    with mlflow.start_run() as run:
        monitor = SystemMetricsMonitor(run.info.run_id, sampling_interval=0.05, samples_before_logging=1)
        monitor.start()
        for step in range(2):
            mlflow.log_image(np.zeros((2, 2, 3), dtype=np.uint8), key="picture", step=step)
            mlflow.log_table({"value": [step]}, "values.json")
        for context in ("training", "validation"):
            mlflow.log_input(mlflow.data.from_pandas(rows, name=context), context)
        evaluated = mlflow.models.evaluate(
            log_model().model_uri,
            table,
            targets="label",
            model_type="regressor",
            evaluator_config={"log_explainer": False},
        )
        assert double(2) == 4
        eventually(lambda: "system/cpu_utilization_percentage" in mlflow.get_run(run.info.run_id).data.metrics)
        monitor.finish()
    theirs = counterpart_of(workspace, run) if mode == "both" else mlflow.get_run(run.info.run_id)
    files = azure.run_artifacts(theirs.info.run_id)
    # MLflow's separator differs by version.
    steps = (re.fullmatch(r"images/picture.step.(\d+)..*\.png", path) for path in files)
    assert {found[1] for found in steps if found} == {"0", "1"}
    assert json.loads(files["values.json"]) == {"columns": ["value"], "data": [[0], [1]]}
    contexts = {one.dataset.name: one.tags[0].value for one in theirs.inputs.dataset_inputs if one.tags}
    assert contexts.items() >= {"training": "training", "validation": "validation"}.items()
    assert evaluated.metrics.items() <= theirs.data.metrics.items()
    assert len(workspace.client().get_metric_history(theirs.info.run_id, "system/cpu_utilization_percentage")) > 0
    assert all(files.values())
    ours = mlflow.get_run(run.info.run_id)
    assert theirs.data.metrics == pytest.approx(ours.data.metrics)
    assert {key: theirs.data.tags[key] for key in ("mlflow.loggedImages", "mlflow.loggedArtifacts")} == {
        key: ours.data.tags[key] for key in ("mlflow.loggedImages", "mlflow.loggedArtifacts")
    }
