"""Some rows of a table as a model's endpoint takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbazureml.scoring.model import chosen_columns, find_model
from adbazureml.scoring.signature import arguments, inputs
from adbazureml.scoring.source import select_rows

if TYPE_CHECKING:
    import pandas as pd

    from adbazureml.uris import ModelURI


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
    return frame.select([column.alias(name) for column, name in columns]).limit(rows).toPandas()
