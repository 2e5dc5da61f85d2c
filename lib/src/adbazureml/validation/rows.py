"""The rows on which versions are compared: their labels, the columns of slices, and what each model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adbazureml.errors import TableError
from adbazureml.scoring.request_rows import rows_of_models
from adbazureml.scoring.source_table import find_columns, select_rows
from adbazureml.text import identifier

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

    from adbazureml.validation.metrics import Task

MOST_ROWS = 100_000
_MOST_VALUES = 50
_SEED = 0
_BESIDE = "adbazureml_beside"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows with a label.

    Attributes
    ----------
    labels : pandas.Series
    slices : pandas.DataFrame
        The columns by whose values they are looked at apart.
    of_models : tuple of pandas.DataFrame
        The rows as each model takes them.
    population : int
        How many rows with a label there are, of which these were drawn.
    """

    labels: pd.Series[Any]
    slices: pd.DataFrame
    of_models: tuple[pd.DataFrame, ...]
    population: int


def rows_to_compare(
    data: str | DataFrame | pd.DataFrame,
    *,
    where: str | None,
    label: str,
    slices: Sequence[str],
    task: Task,
    models: Sequence[str],
) -> Rows:
    """Bring the rows to the driver; of a table or a Spark frame at most 100,000, drawn at random.

    Raises
    ------
    TableError
        A column is not there, no row has a label, all have the same class, or a slice has more than 50 values.
    """
    import pandas as pd

    population = None
    if isinstance(data, pd.DataFrame):
        if where:
            raise TableError("where: of a pandas frame choose the rows yourself; it is for tables and Spark frames.")
        for asked_by, column in [("label", label), *(("slices", one) for one in slices)]:
            if column not in data.columns:
                names = ", ".join(map(str, data.columns))
                raise TableError(f"{asked_by} {column!r}: data has no such column; it has {names}.")
        labels, beside, rows = data[label], data[list(slices)], [data] * len(models)
    else:
        drawn, population = draw_labelled(select_rows(data, where), label)
        labels, beside, rows = _from_spark(drawn, label, slices, models)
    there = labels.notna().to_numpy()
    found = labels[there].reset_index(drop=True)
    if not len(found):
        raise TableError(f"label {label!r}: no row of data has one; give rows with what was to be predicted.")
    if task == "classification" and found.nunique() == 1:
        raise TableError(
            f"label {label!r}: all {len(found):,} rows are {found[0]!r}; it takes rows of two classes or more to tell"
            " a good classifier from one that always says the same."
        )
    for name in slices:
        if (count := beside[name].nunique()) > _MOST_VALUES:
            raise TableError(
                f"slices {name!r}: it has {count:,} values, and {_MOST_VALUES} is the most; give a column of groups."
            )
    return Rows(
        labels=found,
        slices=beside.loc[there].reset_index(drop=True),
        of_models=tuple(one.loc[there].reset_index(drop=True) for one in rows),
        population=population or len(found),
    )


def draw_labelled(frame: DataFrame, label: str) -> tuple[DataFrame, int]:
    """Rows that have a label, and how many there are; of more than 100,000 about as many, each as likely as another.

    A table may be in order, so that its first rows would tell of its first days.

    Raises
    ------
    TableError
        There is no such column.
    """
    from pyspark.sql import functions

    (name,) = find_columns(frame, [label], asked_by=f"label {label!r}")
    labelled = frame.where(functions.col(identifier(name)).isNotNull())
    count = labelled.count()
    return (labelled if count <= MOST_ROWS else labelled.sample(fraction=MOST_ROWS / count, seed=_SEED)), count


def _from_spark(
    frame: DataFrame, label: str, slices: Sequence[str], models: Sequence[str]
) -> tuple[pd.Series[Any], pd.DataFrame, list[pd.DataFrame]]:
    import pandas as pd
    from pyspark.sql import functions

    names = find_columns(frame, [label], asked_by=f"label {label!r}") + find_columns(frame, slices, asked_by="slices")
    if not slices:
        labels, rows = rows_of_models(frame, models=models, also=label, rows=MOST_ROWS)
        return labels, pd.DataFrame(index=labels.index), rows
    # In one column, as all of them must come from one pass.
    beside = functions.struct(*(functions.col(identifier(one)).alias(str(i)) for i, one in enumerate(names)))
    several, rows = rows_of_models(frame.withColumn(_BESIDE, beside), models=models, also=_BESIDE, rows=MOST_ROWS)
    return *labels_and_slices(several, slices), rows


def labels_and_slices(several: pd.Series[Any], slices: Sequence[str]) -> tuple[pd.Series[Any], pd.DataFrame]:
    """Take apart structs of a label and the values of slices, which Spark brings as rows, or through Arrow as dicts."""
    import pandas as pd

    places = range(1 + len(slices))
    found = pd.DataFrame([[one[str(i)] for i in places] for one in several], columns=places, index=several.index)
    return found[0], found[list(places[1:])].set_axis(list(slices), axis="columns")
