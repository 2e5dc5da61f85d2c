"""Spark ML models: they run on Spark itself, not in its Python workers."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from adbazureml import runtime
from adbazureml.errors import ScoringError
from adbazureml.scoring.class_probabilities import by_class
from adbazureml.scoring.library_versions import explain_load
from adbazureml.scoring.source_table import explain_error
from adbazureml.text import identifier

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def transformed(
    frame: DataFrame, uri: str, given: Mapping[str, Column], target_column: str, probability_column: str
) -> DataFrame:
    """Plan a Spark ML model's predictions.

    Parameters
    ----------
    frame : pyspark DataFrame
        The rows.
    uri : str
        The model.
    given : mapping of str to pyspark Column
        The model's inputs, by its own names.
    target_column, probability_column : str
        The columns to add; the second one may be empty.

    Raises
    ------
    ScoringError
        The model can't be loaded, or used on these columns, or makes no such column.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.spark import load_model
    from pyspark.errors import PySparkException
    from pyspark.sql import functions

    try:
        model = load_model(uri, dfs_tmpdir=_local_folder())
    except (MlflowException, PySparkException, ImportError, OSError) as error:
        raise ScoringError(explain_load(uri, error)) from error
    # The row travels in one struct, so that no column of it meets one that a stage of the model adds.
    row = "__adbazureml_row"
    inputs = frame.select(
        functions.struct(*(functions.col(identifier(name)) for name in frame.columns)).alias(row),
        *(column.alias(name) for name, column in given.items()),
    )
    try:
        predictions = model.transform(inputs)
    except PySparkException as error:
        raise ScoringError(f"model: {uri!r} can't be used on these columns: {explain_error(error)}.") from error
    # Where MLflow itself takes the prediction of a Spark ML model from.
    if "prediction" not in predictions.columns:
        made = [name for name in predictions.columns if name not in inputs.columns]
        raise ScoringError(f"model: {uri!r} makes no column 'prediction', only {', '.join(made) or 'none'}.")
    made_columns = [functions.col("prediction").alias(target_column)]
    if probability_column:
        if "probability" not in predictions.columns:
            raise ScoringError(f"probability_column: {uri!r} makes no column 'probability'; leave it empty.")
        from pyspark.ml.functions import vector_to_array

        probabilities = vector_to_array(functions.col("probability"))
        classes = _classes(model, predictions, probabilities, uri)
        made_columns.append(by_class(probabilities, classes).alias(probability_column))
    kept = [functions.col(f"{row}.{identifier(name)}").alias(name) for name in frame.columns]
    selected: DataFrame = predictions.select(*kept, *made_columns)
    return selected


def _classes(model: Any, predictions: DataFrame, probabilities: Column, uri: str) -> Column:
    """The classes in the order of the probabilities, as the column of predictions has them."""
    from pyspark.sql import functions
    from pyspark.sql.types import StringType

    if not isinstance(predictions.schema["prediction"].dataType, StringType):
        return functions.transform(probabilities, lambda _, index: index.cast("double").cast("string"))
    last = getattr(model, "stages", [model])[-1]
    labels = last.getLabels() if hasattr(last, "getLabels") else []
    if not labels:
        raise ScoringError(
            f"probability_column: {uri!r} predicts text and does not say which class is which; give its last stage, "
            "IndexToString, the labels, or leave probability_column empty."
        )
    return functions.array(*map(functions.lit, labels))


@cache
def _local_folder() -> str | None:
    """Where a Spark ML model is unpacked; None on Databricks: MLflow's own, which all machines of the cluster see.

    Some models (ALS) read from it when they are used, so it stays until the process ends.
    """
    return None if runtime.on_databricks() else _folder_of_this_process().name


@cache
def _folder_of_this_process() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="adbazureml-")
