"""A model around a classifier: it gives the probabilities of all classes beside each row's class.

Any flavour whose model has scikit-learn's `predict_proba` and `classes_` will do, XGBoost's and LightGBM's among them.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel

from adbazureml.errors import ScoringError
from adbazureml.scoring.library_versions import explain_load

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo
    from pyspark.sql import Column
    from pyspark.sql.types import StructType

CLASS, PROBABILITIES = "class", "probabilities"


class Classifying(PythonModel):
    """Predicts class and probabilities with the estimator itself, since MLflow's own function gives one of them."""

    def load_context(self, context: Any) -> None:
        """Load the inner model."""
        import mlflow

        self._estimator = mlflow.pyfunc.load_model(context.artifacts["model"]).get_raw_model()

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:  # noqa: ARG002
        """Give a row for each row, its probabilities in the order of the estimator's classes."""
        probabilities = list(self._estimator.predict_proba(model_input))
        # Some give a column of classes rather than a row.
        classes = np.asarray(self._estimator.predict(model_input)).reshape(len(model_input))
        return pd.DataFrame({CLASS: classes, PROBABILITIES: probabilities})


def classifying_model(info: ModelInfo, uri: str) -> tuple[str, StructType, list[str]]:
    """Wrap a model.

    Returns
    -------
    str
        Folder of a pyfunc model with the inputs of the given one. It stays until the process ends.
    pyspark StructType
        Of what it gives: ``class``, of the type of the estimator's classes, and ``probabilities``, an array.
    list of str
        The classes in the order of that array, as Spark writes them as text.

    Raises
    ------
    ScoringError
        The model is no classifier with probabilities.
    """
    import mlflow
    from mlflow.types.schema import Array, ColSpec, Schema
    from mlflow.types.schema import DataType as MlflowType
    from pyspark.sql.types import ArrayType, DoubleType, StructField, StructType

    folder = tempfile.mkdtemp(dir=_folder_of_this_process().name)
    inner = mlflow.artifacts.download_artifacts(uri, dst_path=str(Path(folder, "inner")))
    estimator = _raw_model(inner, uri)
    if not (hasattr(estimator, "predict_proba") and hasattr(estimator, "classes_")):
        raise ScoringError(
            f"probability_column: {uri!r} gives no probabilities; classifiers with predict_proba (scikit-learn, "
            "XGBClassifier, LGBMClassifier) and Spark ML's with a column 'probability' do. Leave probability_column "
            "empty."
        )
    kind = MlflowType.from_numpy_type(np.asarray(estimator.classes_).dtype) or MlflowType.string
    signature = info.signature and mlflow.models.ModelSignature(
        info.signature.inputs, Schema([ColSpec(kind, CLASS), ColSpec(Array(MlflowType.double), PROBABILITIES)])
    )
    mlflow.pyfunc.save_model(
        f"{folder}/model",
        python_model=Classifying(),
        artifacts={"model": inner},
        signature=signature,
        pip_requirements=[],
    )
    fields = [StructField(CLASS, kind.to_spark()), StructField(PROBABILITIES, ArrayType(DoubleType()))]
    return f"{folder}/model", StructType(fields), [class_text(one) for one in np.asarray(estimator.classes_).tolist()]


def by_class(probabilities: Column, classes: Column) -> Column:
    """A map from each class, as text, to its probability: one shape for all flavours; null where there is none."""
    from pyspark.sql import functions

    return functions.map_from_arrays(classes, probabilities)


def _raw_model(folder: str, uri: str) -> Any:
    """The model as its library knows it; None where MLflow keeps that to itself."""
    import mlflow

    try:
        return mlflow.pyfunc.load_model(folder).get_raw_model()
    except NotImplementedError:
        return None
    except Exception as error:
        # Unpickling may raise anything.
        raise ScoringError(explain_load(uri, error)) from error


def class_text(value: object) -> str:
    """A class as Spark writes it as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@cache
def _folder_of_this_process() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="adbazureml-classifying-")
