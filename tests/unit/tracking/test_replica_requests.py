from adbazureml.azureml_mlflow.retry_policy import RetryPolicy
from adbazureml.tracking.replica_store import REPLICA_REQUESTS


def test_a_request_to_the_replica_ends_within_a_known_time():
    assert REPLICA_REQUESTS.total == (5 + 10 + 0.5) * 2


def test_settings_of_mlflow_hold_where_they_are_shorter(monkeypatch):
    retry_policy = RetryPolicy(connect=5, read=10, retries=1, backoff=0.5)
    assert retry_policy.options()["timeout"] == (5, 10)
    assert (retry_policy.tries, retry_policy.pause) == (2, 0.5)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    assert retry_policy.options()["timeout"] == (5, 7)
    assert retry_policy.azure_options()["read_timeout"] == 7
    assert (retry_policy.tries, retry_policy.pause) == (1, 0)
