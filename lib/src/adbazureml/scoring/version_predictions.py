"""Which rows of a table of predictions there are to look at for a model version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.scoring.scoring_model import find_model

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def predictions_of(table: str, *, model: str) -> tuple[DataFrame, str]:
    """Return the rows that a model version predicted, and which model that was.

    A version registered today that found nothing new to score has no row of its own: then those of the same model's
    earlier versions are returned.

    Parameters
    ----------
    table : str
        A table that `score` wrote.
    model : str
        MLflow URI of the version.

    Raises
    ------
    ScoringError
        The URI names no one model.
    """
    from pyspark.sql import functions

    source = find_model(model)
    rows = runtime.table(table)
    own = rows.where(functions.col("model_uri") == source.uri)
    if not source.version or not own.isEmpty():
        return own, source.uri
    return rows.where(functions.col("model_name") == source.name), f"{source.name}, all versions"
