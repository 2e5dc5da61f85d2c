"""A container group from its image to its answers, through Microsoft's management clients."""

import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest
import requests

from adbazureml.deployment.target import Deadline
from adbazureml.errors import DeploymentError

from ..conftest import NAME
from ..contract import BEST, ROWS, worst


def test_first_version_is_built_by_the_registry_and_answers_as_its_model(
    azure, target, deployables, up, rows, predicted
):
    assert target.find(NAME) is None
    target.check(NAME, deployables[1])
    azure.registry.forget_builds()
    said = up(1, shift=False)
    assert "uploading the image's source" in said
    assert target.find(NAME).traffic == {}
    assert np.allclose(target.score(NAME, rows, deployment="v1"), predicted(1))
    up(1)
    state = target.find(NAME)
    assert state.traffic == {"v1": 100}
    assert [(one.name, one.state, one.fingerprint) for one in state.deployments] == [
        ("v1", "healthy", deployables[1].fingerprint)
    ]
    assert np.allclose(target.score(NAME, rows), predicted(1))
    assert list(azure.groups.groups) == [NAME]
    assert state.url == f"http://{azure.groups.groups[NAME].label}.westeurope.azurecontainer.test:5001/score"
    assert [one.name for one in target.list()] == [NAME]


def test_the_contract_holds_in_a_container(target, up):
    up(1)
    connection, url = target.caller(NAME)
    rows = [row for row in ROWS if not row.typed and row.kind != "fault"]
    found = worst(connection, url, rows)
    assert found[0] == BEST, found


def test_a_caller_who_is_slow_keeps_nobody_waiting_in_a_container(azure, target, up, rows, predicted):
    up(1)
    address = ("127.0.0.1", azure.groups.groups[NAME].process.port)
    waiting = {"dataframe_records": [{"age": -4.0, "visits": 1.0}]}
    with ExitStack() as held, ThreadPoolExecutor(1) as slow:
        for _ in range(20):
            stalled = held.enter_context(socket.create_connection(address))
            stalled.sendall(b"POST /score HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")
        answer = slow.submit(target.score, NAME, waiting)
        assert requests.get(target.find(NAME).url.removesuffix("score"), timeout=5).ok
        assert np.allclose(target.score(NAME, rows), predicted(1))
        assert not answer.done()
        assert len(answer.result(60)) == 1


def test_next_version_comes_up_beside_then_takes_over_under_the_same_name_and_goes_back(
    azure, target, up, rows, predicted
):
    up(1)
    url = target.find(NAME).url
    up(2, shift=False)
    assert np.allclose(target.score(NAME, rows), predicted(1))
    assert np.allclose(target.score(NAME, rows, deployment="v2"), predicted(2))
    up(2)
    after = target.find(NAME)
    assert (after.url, after.traffic) == (url, {"v2": 100})
    assert {one.name: one.state for one in after.deployments} == {"v1": "stopped", "v2": "healthy"}
    assert np.allclose(target.score(NAME, rows), predicted(2))

    builds = len(azure.registry.runs)
    target.shift(NAME, {"v1": 100}, progress=print, deadline=Deadline.after(120))
    assert np.allclose(target.score(NAME, rows), predicted(1))
    assert {one.name: one.state for one in target.find(NAME).deployments} == {"v2": "stopped", "v1": "healthy"}
    target.remove(NAME, "v2")
    assert [one.name for one in target.find(NAME).deployments] == ["v1"]
    assert len(azure.registry.runs) == builds
    target.delete(NAME)
    target.delete(NAME)
    assert target.find(NAME) is None


def test_same_again_asks_for_no_change(azure, target, up):
    up(1)
    azure.requests.clear()
    up(1)
    assert {one.method for one in azure.requests if one.host in ("groups", "registry")} <= {"GET"}


def test_key_is_asked_for_and_shown_nowhere(azure, target, connect, up, rows, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    said = up(1)
    state = target.find(NAME)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {target.key(NAME)}"}):
        refused = requests.post(state.url, json=rows, headers=headers)
        assert refused.status_code == 401
        assert "key" in refused.json()["message"]
    assert requests.get(state.url.removesuffix("score")).ok
    assert requests.get(state.url.replace("score", "swagger.json")).status_code == 401
    # Another process on another machine finds the same key.
    assert connect().key(NAME) == target.key(NAME)
    assert connect().key("others") != target.key(NAME)
    shown = "".join([*said, repr(state), target.logs(NAME, "v1", 1000), caplog.text, *capfd.readouterr()])
    for secret in (target.key(NAME), *azure.registry.passwords):
        assert secret not in shown
    seen = requests.get(
        f"{azure.url}{azure.groups.prefix}/containerGroups/{NAME}?api-version=2023-05-01",
        headers={"Authorization": f"Bearer {azure.identity.issue()}"},
        verify=str(azure.cloud_environment["REQUESTS_CA_BUNDLE"]),
    )
    assert target.key(NAME) not in seen.text


def test_renewed_password_of_the_registry_is_told(azure, target, connect, up, monkeypatch):
    up(1)
    monkeypatch.setattr(azure.registry, "passwords", ["another", "one"])
    [deployment] = connect().find(NAME).deployments
    assert deployment.state == "failed"
    assert "password was renewed" in deployment.note


@pytest.mark.parametrize("body", [{"inputs": "x"}, {}, {"dataframe_split": {"columns": ["age"], "data": [[1.0]]}}])
def test_bad_rows_are_one_sentence(target, up, body):
    up(1)
    with pytest.raises(DeploymentError, match="The model refused the rows: ") as caught:
        target.score(NAME, body)
    assert len(str(caught.value).splitlines()) == 1
