import re

import pytest

from adbazureml.azureml_mlflow.experiment_names import azureml_experiment_name


@pytest.mark.parametrize(
    "path",
    ["/Users/ada@example.com/houses/prices", "/Shared/x", "/Users/é/ü/ß", "/a/" + "b" * 400, "/Users/x/ - "],
)
def test_a_path_becomes_a_name_that_azure_ml_takes(path):
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}", azureml_experiment_name(path))


def test_different_paths_never_fall_together():
    paths = ["/Users/a/f/e", "/Users/b/f/e", "/Users/a/f-e", "/Users/a/f/e ", "/Users/a/f_e"]
    assert len({azureml_experiment_name(path) for path in paths}) == len(paths)


def test_a_plain_name_stays():
    assert azureml_experiment_name("iris-classifier") == "iris-classifier"
