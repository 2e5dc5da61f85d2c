"""Class and probabilities of classifiers of several libraries, as the libraries themselves give them."""

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import get_model_info
from sklearn.linear_model import LinearRegression, LogisticRegression

from adbazureml.errors import ScoringError
from adbazureml.scoring.class_probabilities import classifying_model

ROWS = pd.DataFrame({"x": np.arange(60.0), "y": np.arange(60.0) % 7})


@pytest.fixture
def path(tmp_path):
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    yield str(tmp_path / "model")
    mlflow.set_tracking_uri(before)


def scikit_learn():
    return LogisticRegression(max_iter=1000), np.array(["low", "middle", "high"])


def xgboost():
    return pytest.importorskip("xgboost").XGBClassifier(n_estimators=3, n_jobs=1), np.arange(3)


def lightgbm():
    return pytest.importorskip("lightgbm").LGBMClassifier(n_estimators=3, n_jobs=1, verbose=-1), np.array(
        ["low", "middle", "high"]
    )


@pytest.mark.parametrize("library", [scikit_learn, xgboost, lightgbm])
def test_each_library_gives_classes_and_probabilities(path, library):
    model, names = library()
    model.fit(ROWS, names[np.arange(60) // 20])
    flavour = "sklearn" if library is scikit_learn else library.__name__
    how = {"input_example": ROWS.head(2), "pip_requirements": ["mlflow"]}
    getattr(mlflow, flavour).save_model(model, path, **how)
    folder, kind, classes = classifying_model(get_model_info(path), path)
    assert kind["class"].dataType.simpleString() == ("bigint" if library is xgboost else "string")
    assert classes == [str(name) for name in model.classes_]
    found = mlflow.pyfunc.load_model(folder).predict(ROWS)
    assert list(found["class"]) == list(model.predict(ROWS))
    assert np.allclose(np.vstack(found["probabilities"]), model.predict_proba(ROWS))


def test_classes_are_written_as_spark_writes_them(path):
    model = LogisticRegression().fit(ROWS, ROWS["x"] > 30)
    mlflow.sklearn.save_model(model, path, pip_requirements=["mlflow"])
    assert classifying_model(get_model_info(path), path)[2] == ["false", "true"]


def test_a_model_without_probabilities_is_refused(path):
    mlflow.sklearn.save_model(LinearRegression().fit(ROWS, ROWS["x"]), path, pip_requirements=["mlflow"])
    with pytest.raises(ScoringError, match=r"probability_column: .* gives no probabilities"):
        classifying_model(get_model_info(path), path)
