"""A model around a scikit-learn classifier: it gives the probabilities of all classes beside each row's class."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.pyfunc import PythonModel

from adbazureml.errors import ScoringError

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo
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
        return pd.DataFrame({CLASS: self._estimator.predict(model_input), PROBABILITIES: probabilities})


def classifying_model(info: ModelInfo, uri: str) -> tuple[str, StructType]:
    """Wrap a model.

    Returns
    -------
    str
        Folder of a pyfunc model with the inputs of the given one. It stays until the process ends.
    pyspark StructType
        Of what it gives: ``class``, of the type of the estimator's classes, and ``probabilities``, an array.

    Raises
    ------
    ScoringError
        The model is no scikit-learn classifier with probabilities.
    """
    import mlflow
    import numpy as np
    from mlflow.types.schema import Array, ColSpec, Schema
    from mlflow.types.schema import DataType as MlflowType
    from pyspark.sql.types import ArrayType, DoubleType, StructField, StructType

    folder = tempfile.mkdtemp(dir=_folder_of_this_process().name)
    inner = mlflow.artifacts.download_artifacts(uri, dst_path=str(Path(folder, "inner")))
    estimator: Any = mlflow.pyfunc.load_model(inner).get_raw_model() if "sklearn" in info.flavors else None
    if not hasattr(estimator, "predict_proba"):
        raise ScoringError(
            f"probability_column: {uri!r} gives no probabilities; scikit-learn and Spark ML classifiers with "
            "predict_proba or a column 'probability' do. Leave probability_column empty."
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
    return f"{folder}/model", StructType(fields)


@cache
def _folder_of_this_process() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="adbazureml-classifying-")
