"""An endpoint under load, by clients that keep their connections."""

import socket

import pytest

from adbazureml.deployment.load_test import load_test
from adbazureml.deployment.scoring_client import session
from adbazureml.errors import DeploymentError

GOOD, FAILING = ({"dataframe_records": [{"age": age, "visits": 1.0}]} for age in (3.5, -2.0))


def test_all_clients_are_answered_until_the_time_is_over(endpoint, frame):
    result = endpoint.load(frame.head(2), seconds=0.5, clients=3)
    assert result.errors == {}
    assert 0 < result.p50_ms <= result.p95_ms <= result.p99_ms <= result.milliseconds[-1]
    assert result.rate == pytest.approx(len(result.milliseconds) / result.seconds)
    assert len(result.milliseconds) >= 3


def test_failures_are_counted_by_status(endpoint):
    result = load_test(lambda: (session(), endpoint.url), FAILING, seconds=0.1, clients=2)
    assert set(result.errors) == {"500"}
    assert (result.rate, result.milliseconds) == (0, ())


def test_a_server_that_does_not_answer_is_counted_too():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/score"
        result = load_test(lambda: (session(), url), GOOD, seconds=0.1, clients=2)
    assert set(result.errors) == {"no answer"}


def test_each_client_keeps_one_connection(endpoint):
    seen = []

    def caller():
        connection = session()
        connection.hooks["response"].append(lambda answer, **_: seen.append(answer.raw.connection.sock.getsockname()))
        return connection, endpoint.url

    result = load_test(caller, GOOD, seconds=0.2, clients=2)
    assert result.errors == {}
    assert len(seen) == len(result.milliseconds)
    assert len(set(seen)) == 2


def test_rows_that_the_model_refuses_are_told_once(endpoint, frame):
    with pytest.raises(DeploymentError, match="The model refused the rows"):
        endpoint.load(frame.drop(columns="age"), seconds=60)
