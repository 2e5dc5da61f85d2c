"""Some rows of a table as models take them, on the driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adbazureml.scoring.scoring_model import chosen_columns, find_model
from adbazureml.scoring.signature import arguments, inputs
from adbazureml.scoring.source_table import find_columns, select_rows
from adbazureml.text import identifier

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

    from adbazureml.registry.model_uri import ModelURI


def input_rows(table: str, *, model: ModelURI, where: str | None = None, rows: int = 50) -> pd.DataFrame:
    """Bring a model's inputs of some rows to the driver, with the types that its signature names, as `score` does.

    Parameters
    ----------
    table : str
        The table to score.
    model : str or RegisteredVersion
        See `predict`; its signature names the columns that it takes.
    where : str, optional
        SQL condition that the rows must meet.
    rows : int
        The most rows to bring.

    Raises
    ------
    TableError
        There is no such table, or its columns do not fit the signature.
    ScoringError
        There is no such model, or its signature names no columns.
    """
    source = find_model(model)
    names, specs = inputs(source.info)
    frame = select_rows(table, where)
    taken = chosen_columns(frame, None, names, specs, source.uri)
    columns = zip(arguments(frame, taken, specs, source.uri), names or [], strict=True)
    there = [column.alias(name) for column, name in columns if column is not None]
    return frame.select(there).limit(rows).toPandas()


def rows_of_models(
    table: str | DataFrame, *, models: Sequence[ModelURI], also: str, where: str | None = None, rows: int
) -> tuple[pd.Series[Any], list[pd.DataFrame]]:
    """Bring the same rows to the driver as each of several models takes them, and one more column beside.

    Parameters
    ----------
    table : str or pyspark DataFrame
    models : sequence of str or RegisteredVersion
        Their signatures name the columns that they take.
    also : str
        The other column.
    where : str, optional
        SQL condition that the rows must meet.
    rows : int
        The most rows to bring.

    Returns
    -------
    pandas.Series, list of pandas.DataFrame
        The other column; the rows for each model.

    Raises
    ------
    TableError, ScoringError
        As `input_rows`; or the other column is not there.
    """
    from pyspark.sql import functions

    frame = select_rows(table, where)
    (beside,) = find_columns(frame, [also], asked_by=f"label {also!r}")
    # One pass, so that the rows are the same ones in the same order.
    columns, places = [functions.col(identifier(beside)).alias("beside")], []
    for model in models:
        source = find_model(model)
        names, specs = inputs(source.info)
        taken = chosen_columns(frame, None, names, specs, source.uri)
        given = zip(names or [], arguments(frame, taken, specs, source.uri), strict=True)
        there = {name: column for name, column in given if column is not None}
        places.append((len(columns), list(there)))
        columns += [column.alias(str(len(columns) + i)) for i, column in enumerate(there.values())]
    found = frame.select(columns).limit(rows).toPandas()
    several = [
        found.iloc[:, start : start + len(names)].set_axis(list(names), axis="columns") for start, names in places
    ]
    return found["beside"], several
