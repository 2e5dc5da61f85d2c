"""What MLflow can and cannot do against an Azure ML workspace by Microsoft's plug-in alone."""

import re
import subprocess
import sys
import time

import mlflow
import pytest
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException, RestException
from sklearn.linear_model import LinearRegression

GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def test_run_comes_back_as_it_was_logged(plain):
    mlflow.set_experiment("iris-classifier")
    with mlflow.start_run() as run:
        mlflow.log_params({"epochs": 3, "rate": 0.1})
        for step, loss in enumerate((0.5, 0.25, float("nan"))):
            mlflow.log_metric("loss", loss, step=step)
        mlflow.set_tag("team", "blue")
        with mlflow.start_run(nested=True) as child:
            mlflow.log_metric("loss", 1.0)
    client = mlflow.MlflowClient()
    told = client.get_run(run.info.run_id)
    assert told.info.status == "FINISHED"
    assert told.data.params == {"epochs": "3", "rate": "0.1"}
    assert [one.step for one in client.get_metric_history(run.info.run_id, "loss")] == [0, 1, 2]
    assert told.data.tags["team"] == "blue"
    assert client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == run.info.run_id


def test_ids_are_dashed_and_the_artifact_uri_holds_the_experiment_id(plain, client, experiment_id, run_id):
    info = client.get_run(run_id).info
    assert GUID.fullmatch(experiment_id)
    assert GUID.fullmatch(run_id)
    assert info.experiment_id == experiment_id
    assert info.artifact_uri == f"{plain.tracking_uri}/experiments/{experiment_id}/runs/{run_id}/artifacts"


@pytest.mark.parametrize(
    "condition",
    ["attributes.run_id = '{child}'", "run_id IN ('{child}')", "tags.mlflow.parentRunId = '{parent}'"],
)
def test_search_understands_dashed_ids(client, experiment_id, run_id, condition):
    child = client.create_run(experiment_id, tags={"mlflow.parentRunId": run_id}).info.run_id
    found = client.search_runs([experiment_id], condition.format(child=child, parent=run_id))
    assert [run.info.run_id for run in found] == [child]


def test_deleted_run_is_restored(client, experiment_id, run_id):
    client.delete_run(run_id)
    assert client.search_runs([experiment_id]) == []
    client.restore_run(run_id)
    assert [run.info.run_id for run in client.search_runs([experiment_id])] == [run_id]


def test_unknown_ids_are_not_found(client, run_id):
    for unknown in (run_id[:-4] + "ffff", run_id.replace("-", ""), "gone"):
        with pytest.raises(RestException) as caught:
            client.get_run(unknown)
        assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"
        assert unknown in str(caught.value)


def test_large_batch_is_three_requests(plain, client, run_id):
    with mlflow.start_run(run_id=run_id):
        mlflow.log_metrics({f"metric_{number}": number for number in range(2500)})
    assert len(plain.requests_to("runs/log-batch")) == 3
    assert len(client.get_run(run_id).data.metrics) == 2500


def test_experiment_name_with_a_leading_slash_is_refused(plain):
    with pytest.raises(RestException, match="Experiment name must be") as caught:
        mlflow.set_experiment("/Users/someone@example.com/iris")
    assert caught.value.get_http_status_code() == 400


def test_experiment_name_with_an_inner_slash_is_created_but_not_found_again(plain, client):
    mlflow.set_experiment("folder/iris")
    before = mlflow.set_experiment("before")
    assert client.get_experiment_by_name("folder/iris") is None
    assert [one.name for one in client.search_experiments()] == ["before", "Default"]
    assert mlflow.set_experiment("folder/iris") is None
    with mlflow.start_run() as run:
        assert run.info.experiment_id == before.experiment_id


@pytest.mark.parametrize(
    ("batch", "field"),
    [
        ({"tags": [RunTag("a:b", "1")]}, "The request is invalid"),
        ({"tags": [RunTag("a", "1" * 1001)]}, "FieldName=Tags.Value/Length, Limit=1000, Size=1001"),
        ({"tags": [RunTag(f"tag_{number}", "1") for number in range(51)]}, "FieldName=Tags, Limit=50, Size=51"),
        ({"params": [Param("a", "1" * 501)]}, "FieldName=Parameters.Value/Length, Limit=500, Size=501"),
        ({"metrics": [Metric("a", 1.0, 0, step) for step in range(251)]}, "Limit=250, Size=251"),
    ],
)
def test_what_is_over_a_limit_is_refused_whole(client, run_id, batch, field):
    with pytest.raises(RestException, match=field) as caught:
        client.log_batch(run_id, **{"params": [Param("first", "1")], **batch})
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    assert client.get_run(run_id).data.params == {}


def test_run_takes_200_params(client, run_id):
    for first in (0, 100):
        client.log_batch(run_id, params=[Param(f"param_{first + number}", "1") for number in range(100)])
    client.log_param(run_id, "param_0", "1")
    with pytest.raises(MlflowException, match="FieldName=Parameters, Limit=200, Size=201"):
        client.log_param(run_id, "one_more", "1")


def test_log_model_fails_by_404(plain, model, tmp_path):
    mlflow.set_experiment("iris-classifier")
    with pytest.raises(MlflowException, match="404"), mlflow.start_run() as run:
        mlflow.sklearn.log_model(model, name="model", pip_requirements=["scikit-learn"])
    assert plain.run_artifacts(run.info.run_id) == {}
    assert mlflow.get_run(run.info.run_id).info.status == "FAILED"


@pytest.mark.parametrize(
    ("route", "call"),
    [
        ("logged-models/search", lambda client, _: client.search_logged_models(["0"])),
        ("logged-models/search", lambda client, run_id: client.list_artifacts(run_id, "folder")),
        ("registered-models/alias", lambda client, _: client.get_model_version_by_alias("a", "b")),
        ("traces", lambda client, _: client.search_traces(["0"])),
        ("runs/outputs", lambda client, run_id: client.log_outputs(run_id, [])),
    ],
)
def test_what_azure_ml_has_not_is_404(plain, client, run_id, route, call):
    with pytest.raises(MlflowException, match="404"):
        call(client, run_id)
    assert plain.requests[-1].path.endswith(route)


def test_artifact_path_can_be_written_once(plain, client, run_id):
    client.log_text(run_id, "one", "notes/a.txt")
    with pytest.raises(Exception, match=r"Resource Conflict: ArtifactId ExperimentRun/dcid\..+ already exists"):
        client.log_text(run_id, "two", "notes/a.txt")
    assert plain.run_artifacts(run_id) == {"notes/a.txt": b"one"}


def test_artifacts_are_listed_and_downloaded(plain, client, run_id, tmp_path):
    plain.artifacts.page_size = 2
    names = ["a.txt", "b c.txt", "d#e%20f.txt", "größe.txt", "z.bin"]
    for name in names:
        (tmp_path / "up").mkdir(exist_ok=True)
        (tmp_path / "up" / name).write_bytes(name.encode() * 1000)
    (tmp_path / "up" / "empty").touch()
    client.log_artifacts(run_id, str(tmp_path / "up"))
    assert [one.path for one in client.list_artifacts(run_id)] == sorted([*names, "empty"])
    folder = client.download_artifacts(run_id, "", str(tmp_path))
    for name in [*names, "empty"]:
        assert (tmp_path / "up" / name).read_bytes() == plain.run_artifacts(run_id)[name]
        with open(f"{folder}/{name}", "rb") as file:
            assert file.read() == plain.run_artifacts(run_id)[name]


def test_registering_a_runs_uri_fails_and_leaves_an_empty_model(client, run_id):
    with pytest.raises(MlflowException, match="404"):
        mlflow.register_model(f"runs:/{run_id}/model", "iris")
    assert client.get_registered_model("iris").latest_versions == []


@pytest.fixture
def saved_model(model, tmp_path):
    mlflow.sklearn.save_model(model, tmp_path / "model", pip_requirements=["scikit-learn"])
    return tmp_path / "model"


def test_version_of_a_run_keeps_its_run(client, run_id, saved_model, model, rows):
    client.log_artifacts(run_id, str(saved_model), "model")
    client.create_registered_model("iris")
    source = client.get_run(run_id).info.artifact_uri + "/model"
    version = client.create_model_version("iris", source, run_id, tags={"colour": "red"})
    assert (version.version, version.run_id, version.source) == ("1", run_id, source)
    assert client.get_model_version_download_uri("iris", "1") == source
    assert [one.version for one in client.search_model_versions(f"run_id = '{run_id}'")] == ["1"]
    client.transition_model_version_stage("iris", "1", "Staging")
    client.set_model_version_tag("iris", "1", "size", "small")
    found = client.get_model_version("iris", "1")
    assert (found.current_stage, found.tags) == ("Staging", {"colour": "red", "size": "small"})
    assert (mlflow.sklearn.load_model("models:/iris/1").predict(rows) == model.predict(rows)).all()
    client.delete_model_version("iris", "1")
    assert client.search_model_versions("name = 'iris'") == []


def test_version_of_a_local_folder_is_uploaded(plain, client, saved_model, model, rows):
    version = mlflow.register_model(saved_model.as_uri(), "iris")
    assert version.source.startswith("azureml://artifacts/LocalUpload/")
    assert (mlflow.sklearn.load_model("models:/iris/1").predict(rows) == model.predict(rows)).all()
    with pytest.raises(ValueError, match="provided when registering local file"):
        client.create_model_version("iris", saved_model.as_uri(), "some-run")


def test_version_needs_artifacts_of_this_workspace(client, run_id):
    client.create_registered_model("iris")
    artifact_uri = client.get_run(run_id).info.artifact_uri
    for source in (f"{artifact_uri}/model", f"runs:/{run_id}/model", "dbfs:/model", "azureml://artifacts/A/b/c"):
        with pytest.raises(RestException, match="Provided model source"):
            client.create_model_version("iris", source)
    with pytest.raises(RestException, match="Model name"):
        client.create_registered_model("main.default.iris classifier")


def test_autologging_logs_params_only(plain, client, rows):
    mlflow.set_experiment("iris-classifier")
    mlflow.sklearn.autolog()
    try:
        with mlflow.start_run() as run:
            LinearRegression().fit(rows, rows["a"])
    finally:
        mlflow.sklearn.autolog(disable=True)
    # Autologging writes params behind the caller's back, and nobody waits for them once it has failed.
    deadline = time.monotonic() + 120
    while not (run := client.get_run(run.info.run_id)).data.params and time.monotonic() < deadline:
        time.sleep(0.1)
    assert run.info.status == "FINISHED"
    assert run.data.params["fit_intercept"] == "True"
    assert run.data.metrics == {}
    assert plain.run_artifacts(run.info.run_id) == {}


def test_artifacts_need_the_global_tracking_uri(plain, run_id, tmp_path):
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/other.db")
    client = mlflow.MlflowClient(tracking_uri=plain.tracking_uri)
    client.log_param(run_id, "epochs", 3)
    with pytest.raises(MlflowException, match="An authorization token was not set in the artifact uri"):
        client.log_text(run_id, "hello", "a.txt")


def test_asynchronous_metrics_are_there_when_the_status_says_so(plain, client, run_id):
    client.log_metric(run_id, "loss", 0.5, synchronous=False).wait()
    assert client.get_run(run_id).data.metrics == {"loss": 0.5}
    assert [one.path.rsplit("/", 1)[1] for one in plain.requests_to("/preview/")] == [
        "log-batch-async",
        "get-run-data-status",
    ]


@pytest.mark.full
def test_child_process_needs_the_environment_only(azure):
    code = (
        # Our own plug-in is hidden before MLflow looks for it.
        "import sys, warnings; warnings.simplefilter('ignore'); sys.modules['adbazureml'] = None\n"
        "import mlflow; mlflow.set_experiment('iris'); mlflow.start_run(); mlflow.log_text('hello', 'a.txt')\n"
        "print(mlflow.artifacts.load_text(mlflow.get_artifact_uri('a.txt')))"
    )
    environment = {"PATH": "", **azure.environment, "MLFLOW_TRACKING_URI": azure.tracking_uri}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "hello" in done.stdout.splitlines(), done.stderr
    (run,) = azure.find_runs("iris")
    assert azure.run_artifacts(run["info"]["run_id"]) == {"a.txt": b"hello"}
