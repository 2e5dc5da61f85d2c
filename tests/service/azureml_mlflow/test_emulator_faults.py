"""What the emulator does to requests when it is told to, seen from the real clients."""

import time

import pytest
import requests
from mlflow.exceptions import MlflowException, RestException


def runs_of(plain):
    return plain.find_runs("iris-classifier")


@pytest.fixture
def fast_retries(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_failed_request_is_retried_by_mlflow_and_nothing_was_done_before(plain, client, experiment_id, status):
    plain.fail_next(1, "runs/create", status=status)
    client.create_run(experiment_id)
    assert [one.status for one in plain.requests_to("runs/create")] == [status, 200]
    assert len(runs_of(plain)) == 1


def test_retry_after_is_kept(plain, client, experiment_id):
    plain.fail_next(1, "runs/create", status=429, retry_after=1)
    client.create_run(experiment_id)
    first, second = plain.requests_to("runs/create")
    assert second.at - first.at >= 1


def test_fault_meets_only_what_it_names(plain, client, run_id):
    plain.fail_next(1, "runs/(get|search)", method="POST", status=403)
    client.get_run(run_id)
    with pytest.raises(RestException) as caught:
        client.search_runs(["0"])
    assert caught.value.error_code == "PERMISSION_DENIED"
    client.search_runs(["0"])


def test_cleared_faults_meet_nobody(plain, client, run_id):
    plain.fail_next(9, "runs/get", status=403)
    plain.clear_faults()
    client.get_run(run_id)


def test_lost_answer_leaves_a_second_run(plain, client, experiment_id):
    plain.lose_answer(1, "runs/create")
    told = client.create_run(experiment_id)
    assert [one.status for one in plain.requests_to("runs/create")] == [None, 200]
    first, second = runs_of(plain)
    assert told.info.run_id in (first["info"]["run_id"], second["info"]["run_id"])


def test_dropped_request_leaves_nothing(plain, client, experiment_id):
    plain.drop_next(1, "runs/create")
    client.create_run(experiment_id)
    assert [one.status for one in plain.requests_to("runs/create")] == [None, 200]
    assert len(runs_of(plain)) == 1


def test_hang_outlasts_a_caller_that_does_not_wait(plain, client, experiment_id, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    plain.hang_next(1, "runs/create", seconds=1.5)
    client.create_run(experiment_id)
    late = plain.requests_to("runs/create")[0]
    while not late.seconds:
        time.sleep(0.01)
    assert [one.status for one in plain.requests_to("runs/create")] == [None, 200]
    assert len(runs_of(plain)) == 1


def test_hang_answers_a_caller_that_waits(plain, client, run_id):
    plain.hang_next(1, "runs/get", seconds=0.3)
    started = time.monotonic()
    client.get_run(run_id)
    assert time.monotonic() - started >= 0.3


def test_latency_is_added_to_every_answer(plain, client, run_id):
    plain.latency = 0.05
    started = time.monotonic()
    for _ in range(4):
        client.get_run(run_id)
    assert time.monotonic() - started >= 0.2


def test_expired_token_is_not_renewed_by_the_plugin(plain, client, run_id):
    plain.expire_tokens()
    for _ in range(2):
        with pytest.raises(RestException) as caught:
            client.log_metric(run_id, "loss", 1.0)
        assert caught.value.get_http_status_code() == 401


def test_last_failure_is_told_when_retries_end(plain, client, run_id, fast_retries):
    plain.fail_next(3, "runs/log-metric", status=503)
    with pytest.raises(MlflowException, match="503"):
        client.log_metric(run_id, "loss", 1.0)
    assert len(plain.requests_to("runs/log-metric")) == 3


def test_answers_are_in_the_form_of_the_service(azure):
    signed = azure.blobs.sign("a.txt", "r")
    headers = {"Authorization": f"Bearer {azure.identity.issue()}"}
    azure.fail_next(1, r"\.blob\.", status=503)
    storage = requests.get(signed, timeout=60)
    assert (storage.status_code, storage.headers["x-ms-error-code"]) == (503, "ServerBusy")
    assert b"<Code>ServerBusy</Code>" in storage.content
    azure.fail_next(1, "/workspaces/", status=403)
    address = f"{azure.url}{azure.workspace.scope}?api-version=2022-01-01-preview"
    arm = requests.get(address, headers=headers, timeout=60)
    assert arm.json()["error"]["code"] == "AuthorizationFailed"
    azure.fail_next(1, "/history/", status=500)
    history = requests.get(f"{azure.url}/history/v1.0{azure.workspace.scope}/", headers=headers, timeout=60)
    assert history.json()["error"]["code"] == "InternalError"


def test_log_tells_what_was_asked(plain, client, run_id):
    plain.requests.clear()
    client.set_tag(run_id, "team", "blue")
    client.log_text(run_id, "hello", "a.txt")
    asked = [(one.method, one.host, one.status) for one in plain.requests]
    assert asked[0] == ("POST", "tracking", 200)
    assert asked[-2:] == [("POST", "artifacts", 200), ("PUT", "blobs", 201)]
    assert plain.requests[0].body["key"] == "team"
    assert plain.requests[-1].size == len("hello")


def test_secrets_name_all_that_may_not_leak(plain, client, run_id):
    client.log_text(run_id, "hello", "a.txt")
    (upload,) = plain.requests_to(r"\.blob\.")
    assert upload.query["sig"] in plain.secrets
    assert plain.environment["AZURE_CLIENT_SECRET"] in plain.secrets


def test_emulators_in_one_process_share_nothing(azure, azureml_emulator):
    def ask(emulator, token, route, body):
        address = f"https{emulator.tracking_uri.removeprefix('azureml')}/api/2.0/mlflow/{route}"
        return requests.post(address, json=body, headers={"Authorization": f"Bearer {token}"}, timeout=60)

    token, other_token = azure.identity.issue(), azureml_emulator.identity.issue()
    assert ask(azure, token, "registered-models/create", {"name": "iris"}).ok
    experiment_id = ask(azure, token, "experiments/create", {"name": "iris"}).json()["experiment_id"]
    assert ask(azure, token, "runs/create", {"experiment_id": experiment_id}).ok
    assert ask(azureml_emulator, token, "experiments/create", {"name": "iris"}).status_code == 401
    assert ask(azureml_emulator, other_token, "experiments/create", {"name": "iris"}).ok
    assert azureml_emulator.find_runs("iris") == []
    assert ask(azureml_emulator, other_token, "registered-models/create", {"name": "iris"}).ok
