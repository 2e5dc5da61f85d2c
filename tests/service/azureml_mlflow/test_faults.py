"""A service that is slow, limits, fails or dies half-way: nothing is lost or doubled, and no secret is told."""

import logging
import time

import mlflow
import pytest
from mlflow.exceptions import MlflowException

EXPERIMENT = "faults"


@pytest.fixture(autouse=True)
def tracked(azure, monkeypatch):
    """Track in the emulated workspace only; waits are short."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    mlflow.set_tracking_uri(azure.tracking_uri)
    mlflow.set_experiment(EXPERIMENT)
    return azure


@pytest.fixture
def client(tracked):
    return mlflow.MlflowClient()


def runs_named(client, name):
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return client.search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_transient_answer_is_tried_again(tracked, client, status):
    tracked.fail_next(2, "/api/2.0/mlflow/", status=status, retry_after=0 if status == 429 else None)
    with mlflow.start_run(run_name=f"after {status}") as run:
        tracked.fail_next(1, "runs/log-batch", status=status)
        mlflow.log_metrics({"loss": 0.5, "mae": 1.0})
    assert client.get_run(run.info.run_id).data.metrics == {"loss": 0.5, "mae": 1.0}
    assert len(runs_named(client, f"after {status}")) == 1


def test_the_wait_that_the_service_asks_for_is_kept(tracked, client):
    tracked.fail_next(1, "runs/create", status=429, retry_after=1)
    start = time.monotonic()
    with mlflow.start_run(run_name="waited"):
        pass
    assert time.monotonic() - start >= 1
    assert len(runs_named(client, "waited")) == 1


@pytest.mark.parametrize("fault", ["hang", "drop", "lose"])
def test_a_create_whose_answer_does_not_come_makes_one_run(tracked, client, fault):
    match fault:
        case "hang":
            tracked.hang_next(1, "runs/create", seconds=4)
        case "drop":
            tracked.drop_next(1, "runs/create")
        case "lose":
            tracked.lose_answer(1, "runs/create")
    with mlflow.start_run(run_name=fault) as run:
        mlflow.log_metric("loss", 1.0)
    (found,) = runs_named(client, fault)
    assert found.info.run_id == run.info.run_id
    assert found.info.status == "FINISHED"


def test_a_lost_answer_makes_one_experiment_one_version_and_each_point_once(tracked, client, log_model):
    tracked.lose_answer(1, "experiments/create")
    experiment = mlflow.set_experiment("/Users/ada/lost")
    assert experiment.name == "/Users/ada/lost"
    with mlflow.start_run() as run:
        tracked.lose_answer(1, "runs/log-batch")
        mlflow.log_metrics({"loss": 1.0}, step=3)
        tracked.lose_answer(1, "model-versions/create")
        tracked.lose_answer(1, "registered-models/create")
        log_model(registered_model_name="lost")
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 1
    assert [str(version.version) for version in client.search_model_versions("name = 'lost'")] == ["1"]


def test_a_service_that_stays_away_ends_in_an_error_that_says_so(tracked):
    tracked.fail_next(20, "runs/create", status=503)
    with pytest.raises(Exception, match="did not answer after 4 attempts"):
        mlflow.start_run()
    tracked.clear_faults()


def test_an_expired_token_is_renewed_in_mid_run(tracked, client, log_model):
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 1.0)
        tracked.expire_tokens()
        mlflow.log_metric("loss", 0.5, step=1)
        tracked.expire_tokens()
        mlflow.log_text("hello", "hello.txt")
        log_model()
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 2
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/hello.txt") == "hello"


def test_no_permission_is_told_with_the_role_that_gives_it(tracked):
    tracked.fail_next(1, "runs/create", status=403)
    with pytest.raises(MlflowException, match=r"\(403\): give it the role 'AzureML Data Scientist'"):
        mlflow.start_run()


@pytest.mark.parametrize("service", ["batch/metadata", r"\.blob\."])
@pytest.mark.parametrize("fault", ["429", "500", "503", "hang", "drop", "lose"])
def test_an_artifact_survives_it_too(tracked, client, service, fault):
    with mlflow.start_run() as run:
        match fault:
            case "hang":
                tracked.hang_next(1, service, seconds=30)
            case "drop":
                tracked.drop_next(1, service)
            case "lose":
                tracked.lose_answer(1, service)
            case status:
                tracked.fail_next(2, service, status=int(status), retry_after=0)
        mlflow.log_text("hello", "hello.txt")
    assert tracked.run_artifacts(run.info.run_id) == {"hello.txt": b"hello"}


def test_an_artifact_that_may_not_be_written_is_told_with_the_reason(tracked, client):
    with mlflow.start_run() as run:
        tracked.fail_next(1, "batch/metadata", status=403)
        with pytest.raises(MlflowException, match=r"\(403\): give it the role 'AzureML Data Scientist'"):
            mlflow.log_text("hello", "hello.txt")
        tracked.fail_next(1, r"\.blob\.", status=403)
        with pytest.raises(MlflowException, match="does the storage account let this network in"):
            mlflow.log_text("hello", "hello.txt")
        tracked.fail_next(1, "/artifacts", status=403)
        with pytest.raises(MlflowException, match=r"\(403\): give it the role"):
            client.list_artifacts(run.info.run_id)


@pytest.mark.parametrize("size", [100, 3_000_000])
def test_an_upload_that_dies_half_way_is_completed(tracked, tmp_path, size):
    file = tmp_path / "weights.bin"
    file.write_bytes(bytes(range(100)) * (size // 100))
    with mlflow.start_run() as run:
        tracked.cut_upload(20, "weights.bin")
        with pytest.raises(MlflowException, match=r"'weights\.bin' was not transferred"):
            mlflow.log_artifact(file)
        tracked.clear_faults()
        mlflow.log_artifact(file)
    loaded = mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/weights.bin")
    with open(loaded, "rb") as copy:
        assert copy.read() == file.read_bytes()


def test_a_model_whose_upload_fails_is_marked_and_logged_again(tracked, client, log_model, rows):
    with mlflow.start_run() as run:
        tracked.cut_upload(20, "MLmodel")
        with pytest.raises(MlflowException, match="was not transferred"):
            log_model()
        tracked.clear_faults()
        info = log_model()
    assert mlflow.pyfunc.load_model(info.model_uri).predict(rows) is not None
    assert mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model").predict(rows) is not None
    statuses = [model.status for model in client.search_logged_models([run.info.experiment_id])]
    assert sorted(statuses).count("FAILED") == 1


def test_nothing_secret_is_ever_told(tracked, client, log_model, caplog, capfd):
    """Look at every log line of every library, message and tag."""
    said = []
    with caplog.at_level(logging.DEBUG), mlflow.start_run() as run:
        log_model(registered_model_name="secret")
        tracked.cut_upload(20, "cut.txt")
        with pytest.raises(MlflowException) as error:
            mlflow.log_text("cut", "cut.txt")
        said.append(str(error.value))
        tracked.clear_faults()
        tracked.fail_next(20, "runs/set-tag", status=503)
        with pytest.raises(MlflowException) as error:
            mlflow.set_tag("a", "b")
        said.append(str(error.value))
        tracked.clear_faults()
    assert "sig=***" in caplog.text
    said += [str(client.get_run(run.info.run_id).to_dictionary()), caplog.text, *capfd.readouterr()]
    secrets = tracked.secrets
    assert secrets
    for text in said:
        for secret in secrets:
            assert secret not in text
