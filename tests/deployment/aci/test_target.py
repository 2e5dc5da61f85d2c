"""A container group from its image to its answers, through Microsoft's management clients."""

import json

import mlflow
import numpy as np
import requests

from .conftest import NAME


def payload(frame):
    return {"dataframe_split": json.loads(frame.to_json(orient="split", index=False))}


def test_first_version_is_built_by_the_registry_and_answers_as_the_model(azure, target, models, up, store, frame):
    assert target.find(NAME) is None
    target.check(NAME, models[1])
    said = up(1, shift=False)
    assert any("building the image" in line for line in said)
    beside = target.find(NAME)
    assert beside.traffic == {}
    predicted = mlflow.pyfunc.load_model(store.v1).predict(frame)
    assert np.allclose(target.score(NAME, payload(frame), deployment="v1"), predicted)
    up(1)
    state = target.find(NAME)
    assert state.traffic == {"v1": 100}
    assert [(one.name, one.state) for one in state.deployments] == [("v1", "healthy")]
    assert state.deployments[0].fingerprint == models[1].fingerprint
    assert np.allclose(target.score(NAME, payload(frame)), predicted)
    assert len(azure.groups.groups) == 1
    assert len(azure.registry.runs) == 1
