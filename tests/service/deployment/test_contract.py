"""The contract of an endpoint: each request of a table, asked of both local servers and of ``mlflow models serve``."""

import http.client
import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from urllib.parse import urlsplit

import mlflow
import psutil
import pytest
from mlflow.models import ModelSignature
from mlflow.pyfunc.scoring_server import get_cmd
from mlflow.types.schema import ColSpec, Schema
from tests.emulators import loaded_processes

from adbazureml.deployment import Local, deploy, model_environment
from adbazureml.deployment.load_test import load_test
from adbazureml.deployment.scoring_client import is_healthy, session
from adbazureml.errors import DeploymentError

from .conftest import REQUIREMENTS, tracking_in
from .contract import BASE, BEST, ROWS, ask, records, worth
from .models import all_types

NAME = "contract"
LIVENESS_S = 0.1
OPTIONAL = (("long", "count"), ("integer", "small"), ("boolean", "flag"), ("datetime", "at"), ("string", "code"))
SIGNATURE = ModelSignature(
    Schema(
        [
            ColSpec("double", "age"),
            ColSpec("double", "visits"),
            *(ColSpec(kind, name, required=False) for kind, name in OPTIONAL),
        ]
    ),
    Schema([ColSpec("double")]),
)
GOOD, SLOW, FAILING = records({}), records({"age": -4.0}), records({"age": -2.0})


@pytest.fixture(scope="module")
def model(store):
    with tracking_in(store), mlflow.start_run():
        logged = mlflow.sklearn.log_model(
            all_types(), name="all_types", pip_requirements=REQUIREMENTS, signature=SIGNATURE
        )
    return logged.model_uri


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder in which our server keeps its rows."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def ours(store, model, kept):
    """Microsoft's inference server with our script."""
    with tracking_in(store), deploy(model, name=NAME, target=Local(collect=str(kept))) as endpoint:
        yield endpoint


@contextmanager
def offline(home):
    """No package index answers, and nothing is installed yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
        patch.setenv("UV_NO_CACHE", "1")
        patch.setenv("UV_FIND_LINKS", str(home))
        patch.setenv("UV_HTTP_RETRIES", "0")
        patch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        patch.setenv("ADBAZUREML_HOME", str(home))
        model_environment._resolved.cache_clear()  # what an index told once in this process is not asked again
        yield


@pytest.fixture(scope="module")
def without_index(store, model, tmp_path_factory):
    """MLflow's server, as it is started where no package index answers; what was said, and of its rows."""
    home = tmp_path_factory.mktemp("offline")
    with tracking_in(store), offline(home):
        with pytest.warns(UserWarning, match="answers instead") as warned:
            endpoint = deploy(model, name="offline", timeout=400)
        with pytest.warns(UserWarning, match="answers instead"), pytest.raises(DeploymentError) as refused:
            deploy(model, name="keeping", target=Local(collect=str(home)), timeout=400)
        note = endpoint.status().deployments[0].note
    said = [str(one.message) for one in warned]
    yield SimpleNamespace(url=endpoint.url, note=note, said=said, refused=str(refused.value))
    with offline(home):
        endpoint.release()


@pytest.fixture(scope="module")
def reference(store, model, tmp_path_factory):
    """Where ``mlflow models serve`` answers."""
    folder = tmp_path_factory.mktemp("reference")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tracking_in(store):
        path = mlflow.artifacts.download_artifacts(artifact_uri=model, dst_path=str(folder))
    command, environment = get_cmd(path, port=port, host="127.0.0.1")
    process = loaded_processes.serve(
        command.split()[-1],
        port=port,
        folder=folder,
        log=folder / "log",
        environment={**environment, "MLFLOW_TRACKING_URI": str(folder / "mlruns")},
    )
    try:
        end = time.monotonic() + 120
        while not is_healthy(f"http://127.0.0.1:{port}/ping", timeout=2):
            if not process.is_alive() or time.monotonic() > end:
                pytest.fail((folder / "log").read_text())
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        process.kill()
        process.join()


@pytest.fixture
def url(ours):
    return ours.url


@pytest.fixture
def address(url):
    parts = urlsplit(url)
    return parts.hostname, parts.port


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_no_answer_is_worse_than_that_of_mlflow_models_serve(url, reference, without_index, row):
    with session() as connection:
        mine, theirs = (ask(connection, where, row) for where in (url, reference))
        other = ask(connection, without_index.url, row)
    assert (worth(row, mine), mine.status) == (BEST, row.status), mine
    assert row.said in mine.text
    assert worth(row, other) >= worth(row, theirs), (other, theirs)


def test_there_are_at_least_70_rows_and_no_two_of_a_name():
    assert len({row.name for row in ROWS}) == len(ROWS) >= 70


@pytest.mark.parametrize(
    "body",
    [
        {"input_data": [{"age": 3.5, "visits": 1.0}]},
        {"input_data": {"age": [3.5], "visits": [1.0]}},
        {"input_data": {"columns": ["age", "visits"], "index": [0], "data": [[3.5, 1.0]]}},
    ],
)
def test_the_format_of_azure_ml_is_understood_too(ours, body):
    assert ours.score(body) == [BASE]


def test_callers_at_once_are_each_told_their_own(url):
    ages = [float(age) for age in range(40)]

    def one(age):
        with session() as connection:
            return connection.post(url, json=records({"age": age}), timeout=60).json()["predictions"]

    with ThreadPoolExecutor(8) as callers:
        assert list(callers.map(one, ages)) == [[age * 2 + 1 / 7] for age in ages]


def test_options_and_swagger(url):
    with session() as connection:
        assert connection.options(url, timeout=60).status_code == 200
        assert connection.get(f"{url.removesuffix('/score')}/swagger.json", timeout=60).ok


def test_where_no_package_index_answers_mlflow_serves_and_says_so(without_index):
    assert any("requirements were not checked, as no package index answers" in each for each in without_index.said)
    assert any("The inference server could not be installed: " in each for each in without_index.said)
    assert without_index.url.endswith("/invocations")
    assert "MLflow's own scoring server" in without_index.note
    assert "MLflow's server keeps no rows; leave it out." in without_index.refused


def test_rows_are_kept_with_their_predictions(ours, kept):
    assert ours.score(records({"age": 77.25, "code": "007"})) == [77.25 * 2 + 1 / 7 + 3]
    lines = [json.loads(line) for file in kept.glob("*.json") for line in file.read_text().splitlines()]
    (line,) = [line for line in lines if line["age"] == 77.25]
    assert (line["visits"], line["code"], line["prediction"]) == (1.0, "007", 77.25 * 2 + 1 / 7 + 3)
    assert line["scored_at"].startswith("20")


# Callers who are slow, and the others


def post(connection, body=GOOD):
    connection.request("POST", "/score", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def seconds_of(connection, path="/"):
    begin = time.monotonic()
    connection.request("GET", path)
    assert connection.getresponse().read() == b"Healthy"
    return time.monotonic() - begin


def test_silent_stalled_and_slow_callers_keep_nobody_waiting(address):
    with ExitStack() as held, ThreadPoolExecutor(3) as slow:
        for said in (
            b"",
            b"POST /score HTTP/1.1\r\nHost: x\r\n",
            b"POST /score HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
        ):
            for _ in range(50):
                held.enter_context(socket.create_connection(address)).sendall(said)
        waiting = [slow.submit(post, http.client.HTTPConnection(*address, timeout=60), SLOW) for _ in range(3)]
        other = http.client.HTTPConnection(*address, timeout=60)
        # The fastest of some: the machine is busy with other tests.
        assert min(seconds_of(other) for _ in range(5)) < LIVENESS_S
        assert post(other) == (200, {"predictions": [BASE]})
        assert not any(each.done() for each in waiting)
        assert [each.result()[0] for each in waiting] == [200, 200, 200]


def test_a_connection_is_kept_open(address):
    connection = http.client.HTTPConnection(*address, timeout=60)
    assert post(connection)[0] == 200
    kept = connection.sock
    assert post(connection)[0] == 200
    assert kept is not None
    assert connection.sock is kept


@pytest.mark.full
def test_a_silent_connection_is_closed(address):
    with socket.create_connection(address, timeout=60) as silent:
        assert silent.recv(1) == b""


def test_a_worker_that_dies_is_replaced(ours, address, home):
    (record,) = home.glob(f"endpoints/{NAME}/*/server.json")
    server = psutil.Process(json.loads(record.read_text())["pid"])
    (worker,) = server.children()
    os.kill(worker.pid, signal.SIGKILL)
    # Connections wait for the next worker at the socket, which is the parent's.
    assert post(http.client.HTTPConnection(*address, timeout=60)) == (200, {"predictions": [BASE]})
    assert server.is_running()
    assert ours.status().deployments[0].state == "healthy"


# Under load


def test_all_clients_are_answered_until_the_time_is_over(ours, frame):
    result = ours.load(frame.head(2), seconds=0.5, clients=3)
    assert result.errors == {}
    assert 0 < result.p50_ms <= result.p95_ms <= result.p99_ms <= result.milliseconds[-1]
    assert result.rate == pytest.approx(len(result.milliseconds) / result.seconds)
    assert len(result.milliseconds) >= 3


def test_failures_are_counted_by_status(url):
    result = load_test(lambda: (session(), url), FAILING, seconds=0.1, clients=2)
    assert set(result.errors) == {"500"}
    assert (result.rate, result.milliseconds) == (0, ())


def test_a_server_that_does_not_answer_is_counted_too():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/score"
        result = load_test(lambda: (session(), url), GOOD, seconds=0.1, clients=2)
    assert set(result.errors) == {"no answer"}


def test_each_client_keeps_one_connection(url):
    seen = []

    def caller():
        connection = session()
        connection.hooks["response"].append(lambda answer, **_: seen.append(answer.raw.connection.sock.getsockname()))
        return connection, url

    result = load_test(caller, GOOD, seconds=0.2, clients=2)
    assert result.errors == {}
    assert len(seen) == len(result.milliseconds)
    assert len(set(seen)) == 2


def test_rows_that_the_model_refuses_are_told_once(ours, frame):
    with pytest.raises(DeploymentError, match="The model refused the rows"):
        ours.load(frame.drop(columns="age"), seconds=60)
