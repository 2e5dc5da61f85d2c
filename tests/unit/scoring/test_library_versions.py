"""A model that was logged with libraries that are not here."""

import pickle
import platform
from pathlib import Path

import mlflow
import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LinearRegression

from adbazureml.scoring.library_versions import load_failure


@pytest.fixture
def path(tmp_path):
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    model = LinearRegression().fit(np.eye(2), [1, 2])
    pins = ["scikit-learn==0.24.1", "numpy>=1", "no-such-package[extra]==1.2"]
    mlflow.sklearn.save_model(model, tmp_path / "model", pip_requirements=pins)
    yield str(tmp_path / "model")
    mlflow.set_tracking_uri(before)


def test_the_versions_of_a_model_that_does_not_load_are_told(path):
    # A pickle of a module that newer releases moved.
    Path(path, "model.pkl").write_bytes(b"csklearn.ensemble._gone\nLoss\n.")
    assert load_failure(path) == (
        f"model: {path!r} can't be loaded: No module named 'sklearn.ensemble._gone'. It was logged with scikit-learn "
        f"0.24.1, no-such-package 1.2; here is scikit-learn {sklearn.__version__}, no no-such-package. Install what it "
        "was logged with, or log it anew here."
    )


def test_another_python_is_told(path):
    Path(path, "model.pkl").write_bytes(pickle.dumps(None)[:-1])
    env = Path(path, "python_env.yaml")
    env.write_text(env.read_text().replace(platform.python_version(), "3.8.18"))
    said = load_failure(path)
    assert "It was logged with Python 3.8.18, " in said
    assert f"here is Python {platform.python_version()}, " in said


def test_a_model_that_loads_is_no_failure(path):
    assert load_failure(path) == ""
