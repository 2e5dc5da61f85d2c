"""What a deployed model answers, asked from outside, under Microsoft's inference server."""

import json

import mlflow
import numpy as np
import pytest
import requests

from adbazureml.deployment import endpoints, input_example
from adbazureml.deployment.targets.local.endpoints import LocalTarget
from adbazureml.deployment.targets.local.options import Local
from adbazureml.errors import DeploymentError

from .conftest import GIVEN, SECRETS

JSON = "application/json"
ROW = {"age": 3.5, "visits": 1.0}


def post(endpoint, body, content_type=JSON):
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    headers = {"Content-Type": content_type} if content_type else {}
    return requests.post(endpoint.url, data=text, headers=headers, timeout=60)


def test_scores_as_the_model_does(endpoint, store, frame):
    predicted = mlflow.pyfunc.load_model(store.v1).predict(frame)
    assert np.array_equal(endpoint.score(frame), predicted)


def test_rows_without_names_are_in_the_order_of_the_signature(endpoint):
    assert endpoint.score({"input_data": [[3.5, 1.0]]}) == [3.5 * 2 + 1 / 7]


@pytest.mark.parametrize(
    ("rows", "said"), [([1, 2, 3], "each row needs 2 values: age, visits"), (None, "missing inputs")]
)
def test_rows_without_names_that_do_not_fit(endpoint, rows, said):
    with pytest.raises(DeploymentError, match=said):
        endpoint.score({"input_data": rows})


def test_model_that_breaks_is_a_500_without_a_stack_trace(endpoint):
    answer = post(endpoint, {"dataframe_records": [{**ROW, "age": -2}]})
    assert answer.status_code == 500
    assert answer.json() == {"message": "The model failed (RuntimeError): the endpoint's log says why."}
    assert "Traceback" in endpoint.logs(200)
    assert "RuntimeError: the weights\nare from another planet" in endpoint.logs(200)
    assert endpoint.status().deployments[0].state == "healthy"


def test_numbers_that_are_none_are_null(endpoint, frame):
    answer = post(endpoint, {"dataframe_records": [{**ROW, "age": None}, ROW]})
    assert answer.text == '{"predictions": [null, 7.142857142857143]}'
    assert endpoint.score(frame.head(1).assign(age=None)) == [None]


def test_the_model_sees_nothing_of_the_environment_but_what_it_needs(endpoint):
    seen = set(post(endpoint, {"dataframe_records": [{**ROW, "age": -5}]}).json()["predictions"])
    assert seen >= {"PATH", "HOME", "MLFLOW_TRACKING_URI", GIVEN}
    assert not seen & set(SECRETS)


def test_variables_of_the_model_are_kept_by_name_only(endpoint, home):
    (record,) = home.glob("endpoints/lines/*/server.json")
    assert json.loads(record.read_text())["environment"] == [GIVEN]
    target = LocalTarget(Local())
    with pytest.raises(DeploymentError, match=f"environment: the model needs {GIVEN}: set it"):
        target._variables([GIVEN])


def test_scoring_time_out_names_the_setting(endpoint, frame):
    with pytest.raises(DeploymentError, match=r"\(504\): The model did not answer within 5 s: .*raise request_timeout"):
        endpoint.score({"dataframe_records": [{**ROW, "age": -1}]})
    assert len(endpoint.score(frame)) == len(frame)


@pytest.mark.parametrize("version", ["2", "3", "3.1"])
def test_swagger_shows_the_signature(endpoint, version):
    swagger = requests.get(f"{endpoint.url.removesuffix('/score')}/swagger.json?version={version}", timeout=60).json()
    schemas = swagger.get("definitions") or swagger["components"]["schemas"]
    table = schemas["ServiceInput"]["properties"]["input_data"]
    assert table["properties"]["columns"]["items"]["enum"] == ["age", "visits"]
    example = schemas["ServiceInput"]["example"]
    assert len(post(endpoint, example).json()["predictions"]) == 3
    assert "predictions" in schemas["ServiceOutput"]["properties"]


def test_comparison_agrees_and_takes_times(endpoint, frame):
    result = endpoint.compare(frame, calls=20)
    assert list(result.table.columns) == ["endpoint", "model"]
    assert len(result.table) == len(frame)
    assert result.largest_difference == 0
    assert 0 < result.p50_ms <= result.p99_ms
    assert "p99" in result._repr_html_()


def test_shows_itself(endpoint, store):
    shown = endpoint._repr_html_()
    assert "healthy" in shown
    assert "100 %" in shown
    assert endpoint.url in shown
    assert endpoint.model_uri == store.v1
    assert "ready for serving traffic" in endpoint.logs(1000)
    assert "lines" in [found.name for found in endpoints()]
    assert endpoint.url in endpoints()._repr_html_()


def test_server_leaves_nothing_in_its_folder_but_what_is_its_own(endpoint, home):
    (folder,) = (path.parent for path in home.glob("endpoints/lines/*/server.json"))
    left = {path.name for path in folder.iterdir()}
    traffic = {"open", "accepting", "listener.sock"}
    assert left - traffic == {"code", "environment", "lease.json", "mlruns", "model", "server.json", "server.log"}
    assert {path.name for path in (folder / "code").iterdir()} - {"__pycache__"} == {"score.py"}


@pytest.mark.parametrize("rows", [{"age": [1.0]}, {"inputs": object()}, "age=1", None, [1, 2]])
def test_what_is_no_request_is_one_sentence(endpoint, rows):
    with pytest.raises(DeploymentError) as caught:
        endpoint.score(rows)
    assert_one_line(str(caught.value))


@pytest.mark.parametrize("change", [lambda rows: rows.drop(columns="age"), lambda rows: rows.assign(age="old")])
def test_rows_that_do_not_fit_are_one_sentence(endpoint, frame, change):
    with pytest.raises(DeploymentError, match=r"The model refused the rows: .*age") as caught:
        endpoint.score(change(frame))
    assert_one_line(str(caught.value))


def test_comparison_needs_rows(endpoint, frame):
    with pytest.raises(DeploymentError, match="at least one row"):
        endpoint.compare(frame.head(0))


def test_input_example(store, frame):
    assert input_example(store.v1).equals(frame.head(3))
    assert input_example(store.broken) is None


def assert_one_line(said):
    assert len(said.splitlines()) == 1
    assert "Traceback" not in said
    assert len(said) < 600
