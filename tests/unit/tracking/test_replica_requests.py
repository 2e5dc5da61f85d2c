from adbazureml.tracking.replica_store import MIRROR
from adbazureml.azureml_mlflow.retry_policy import RetryPolicy


def test_a_request_of_the_mirror_ends_within_a_known_time():
    assert MIRROR.total == (5 + 10 + 0.5) * 2


def test_settings_of_mlflow_hold_where_they_are_shorter(monkeypatch):
    patience = RetryPolicy(connect=5, read=10, retries=1, backoff=0.5)
    assert patience.options()["timeout"] == (5, 10)
    assert (patience.tries, patience.pause) == (2, 0.5)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    assert patience.options()["timeout"] == (5, 7)
    assert patience.azure_options()["read_timeout"] == 7
    assert (patience.tries, patience.pause) == (1, 0)
