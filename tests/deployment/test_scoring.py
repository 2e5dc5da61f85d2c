"""What a deployed model answers, asked from outside."""

import json
import urllib.request

import mlflow
import numpy as np
import pytest

from adbazureml.deployment import endpoints, input_example
from adbazureml.errors import DeploymentError


def test_scores_as_the_model_does(endpoint, store, frame):
    predicted = mlflow.pyfunc.load_model(store.v1).predict(frame)
    assert np.array_equal(endpoint.score(frame), predicted)


def test_speaks_the_scoring_protocol_of_mlflow(endpoint, frame):
    body = json.dumps({"dataframe_split": frame.head(2).to_dict(orient="split")}).encode()
    request = urllib.request.Request(
        f"{endpoint.url}/invocations", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer)["predictions"] == endpoint.score(frame.head(2))


def test_takes_a_request_of_the_protocol_as_dict(endpoint, frame):
    assert endpoint.score({"dataframe_records": frame.head(2).to_dict("records")}) == endpoint.score(frame.head(2))


def test_comparison_agrees_and_takes_times(endpoint, frame):
    result = endpoint.compare(frame, calls=20)
    assert list(result.table.columns) == ["endpoint", "model"]
    assert len(result.table) == len(frame)
    assert result.largest_difference == 0
    assert 0 < result.p50_ms <= result.p99_ms
    assert "p99" in result._repr_html_()


def test_shows_itself(endpoint):
    shown = endpoint._repr_html_()
    assert "healthy" in shown
    assert endpoint.url in shown
    assert "startup complete" in endpoint.logs()
    assert [found.name for found in endpoints()] == ["lines"]
    assert endpoints() == [endpoint]


def test_server_leaves_nothing_in_its_folder_but_what_is_its_own(endpoint):
    assert {path.name for path in endpoint.log.parent.iterdir()} == {"lease.json", "model", "server.log"}


def test_missing_column_is_one_sentence(endpoint, frame):
    with pytest.raises(DeploymentError) as caught:
        endpoint.score(frame.drop(columns="age"))
    assert "age" in str(caught.value)
    assert_one_line(caught.value)


def test_wrong_type_is_one_sentence(endpoint, frame):
    with pytest.raises(DeploymentError) as caught:
        endpoint.score(frame.assign(age="old"))
    assert "age" in str(caught.value)
    assert_one_line(caught.value)


@pytest.mark.parametrize("rows", [{"age": [1.0]}, {"inputs": object()}, "age=1", None, [1, 2]])
def test_what_is_no_request_is_one_sentence(endpoint, rows):
    with pytest.raises(DeploymentError) as caught:
        endpoint.score(rows)
    assert_one_line(caught.value)


def test_comparison_needs_rows(endpoint, frame):
    with pytest.raises(DeploymentError, match="at least one row"):
        endpoint.compare(frame.head(0))


def test_input_example(store, frame):
    assert input_example(store.v1).equals(frame.head(3))
    assert input_example(store.broken) is None


def assert_one_line(error):
    assert len(str(error).splitlines()) == 1
    assert "Traceback" not in str(error)
    assert len(str(error)) < 500
