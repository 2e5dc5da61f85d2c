"""Which URI stands for a model, whoever returned it."""

from inspect import signature
from types import SimpleNamespace

import pytest
from mlflow.entities.model_registry import ModelVersion
from mlflow.models.model import ModelInfo

from adbazureml.registry.model_uri import uri_of


@pytest.mark.parametrize(
    ("model", "uri"),
    [
        ("runs:/1/model", "runs:/1/model"),
        (SimpleNamespace(uri="models:/main.houses.prices/3"), "models:/main.houses.prices/3"),
        (ModelVersion("prices", "3", 0), "models:/prices/3"),
    ],
)
def test_what_people_have_of_a_model_stands_for_it(model, uri):
    assert uri_of(model) == uri


def test_so_does_what_log_model_returned():
    unknown = dict.fromkeys(signature(ModelInfo).parameters)
    assert uri_of(ModelInfo(**{**unknown, "model_uri": "models:/m-1"})) == "models:/m-1"
