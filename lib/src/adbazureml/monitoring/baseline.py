"""What a model learned from, in figures: made once in training, kept with the run, compared with ever after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import numpy as np

from adbazureml.errors import SettingsError, TableError, TrackingError
from adbazureml.monitoring.column_profile import (
    WEEKDAYS,
    Binned,
    column_profiles,
    edges_of,
    frequent_categories,
    types_of,
)
from adbazureml.monitoring.rows import Rows, as_spark
from adbazureml.registry.model_uri import ModelURI, uri_of

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from numpy.typing import NDArray

FOLDER = "drift_baseline"
_FILE = f"{FOLDER}/baseline.json"
# How Azure ML reads the folder as a table.
_MLTABLE = "paths:\n- file: ./rows.parquet\ntransformations:\n- read_parquet\n"
_BINS = 10
_ROWS = 1000
_WHOLE = {"tinyint", "smallint", "int", "bigint"}
OTHER = "(other)"
Content = Literal["number", "text", "date", "array"]


@dataclass(frozen=True)
class BaselineColumn:
    """One column of the data that a model learned from.

    Attributes
    ----------
    binned : Binned
        Its name, kind and bins: inner edges between its quantiles, or its 100 most frequent categories.
    type : str
        Its Spark type.
    counts : tuple of int
        Rows in each bin; a categorical column has one bin for all other categories; missing values come last.
    quantiles : tuple of float
        1,000 quantiles of the values of a number; none where all are missing.
    """

    binned: Binned
    type: str
    counts: tuple[int, ...]
    quantiles: tuple[float, ...]


@dataclass(frozen=True)
class Baseline:
    """The data that a model learned from, with its predictions for them.

    Attributes
    ----------
    columns : tuple of BaselineColumn
    """

    columns: tuple[BaselineColumn, ...]

    def log(self) -> None:
        """Keep it with the active MLflow run, where `baseline_of` finds it by the model; its `rows` too, as a table."""
        import mlflow

        with TemporaryDirectory() as folder:
            place = Path(folder)
            (place / "MLTable").write_text(_MLTABLE)
            self.rows().to_parquet(place / "rows.parquet", index=False)
            mlflow.log_artifacts(folder, FOLDER)
        # Last: where it is, the baseline is whole.
        mlflow.log_text(json.dumps({"columns": [asdict(column) for column in self.columns]}), _FILE)

    def rows(self) -> pd.DataFrame:
        """Make rows that are spread as the training rows were, for services that take a baseline as a table.

        Returns
        -------
        pandas.DataFrame, shape (1000, n_columns)
            Each column has the quantiles, the shares of categories and the share of missing values that it had in
            training. What belongs together in one training row does not here: the columns are shuffled apart, the same
            way each time. Categories beyond the 100 most frequent are ``(other)``. What is not looked at by its value,
            such as a date, is left out.
        """
        import pandas as pd

        order = np.random.default_rng(0)
        return pd.DataFrame({one.binned.name: order.permutation(_typical(one)) for one in self.values})

    @property
    def values(self) -> tuple[BaselineColumn, ...]:
        """The columns that are looked at by their values."""
        return tuple(column for column in self.columns if column.binned.measure == "value")

    def _repr_html_(self) -> str:
        numbers = sum(column.binned.kind == "numeric" for column in self.columns)
        rows = sum(self.columns[0].counts)
        return f"<p>baseline of {rows:,} rows: {numbers} numeric and {len(self.columns) - numbers} other columns</p>"


def _typical(column: BaselineColumn) -> NDArray[np.object_]:
    """The values of a column in 1,000 rows, missing ones as None."""
    # The middles of 1,000 equal shares of the rows.
    shares = (np.arange(_ROWS) + 0.5) / _ROWS
    counts = np.array(column.counts, dtype=np.float64)
    upto = np.cumsum(counts) / counts.sum()
    if column.binned.kind == "categorical":
        boolean = column.type == "boolean"
        names = [name == "true" if boolean else name for name in column.binned.bins]
        values: list[object] = [*names, None if boolean else OTHER, None]
        return np.array([values[i] for i in np.searchsorted(upto, shares)], dtype=object)
    there = np.array(column.quantiles)
    present = shares[shares < 1 - counts[-1] / counts.sum()] if len(there) else shares[:0]
    # Evenly spread over the quantiles, of which there are as many as rows when nothing is missing.
    picked = there[((np.arange(len(present)) + 0.5) / max(len(present), 1) * len(there)).astype(int)]
    whole = column.type in _WHOLE
    return np.array([*(int(x) if whole else float(x) for x in picked), *[None] * (_ROWS - len(present))], dtype=object)


def profile(rows: Rows, *, columns: Sequence[str] | None = None, bins: int = _BINS) -> Baseline:
    """Take the figures of rows that later ones are compared with.

    Numbers are counted in bins between their quantiles, a value that takes several quantiles having a bin of its own;
    text and booleans by category. Null and NaN are one more bin. Text that is hardly ever the same (more than 100
    values, on average in fewer than two rows each) is looked at by its length, a date or time by the day and the
    weekday, an array of numbers by its Euclidean norm.

    Parameters
    ----------
    rows : str, pyspark DataFrame or pandas DataFrame
        The training rows or their table, with the model's predictions for them as one more column.
    columns : sequence of str, optional
        By default all.
    bins : int
        Bins of a number, not counting the one of missing values; 2 or more.

    Raises
    ------
    TableError
        There are no rows or no such table, or a column is not there or can't be looked at, such as a struct.
    SettingsError
        `bins` is below 2.
    """
    if bins < 2:
        raise SettingsError(f"bins: {bins!r} is wrong; expected 2 or more.")
    frame = as_spark(rows)
    types = types_of(frame)
    contents = comparable({"the baseline": types}, list(types) if columns is None else columns)
    categories = frequent_categories(frame, [name for name, content in contents.items() if content == "text"])
    looked_at = [one for name, content in contents.items() for one in _looked_at(name, content, categories)]
    edges = iter(edges_of(frame, [one for one in looked_at if one.kind == "numeric"], bins))
    binned = [replace(one, bins=next(edges)) if one.kind == "numeric" else one for one in looked_at]
    found = column_profiles(frame, binned).get("")
    if found is None:
        raise TableError("There is no row in the baseline: give the rows that the model learned from.")
    return Baseline(
        tuple(
            BaselineColumn(column, types[column.name], tuple(one.counts.tolist()), tuple(one.quantiles().tolist()))
            for column, one in zip(binned, found, strict=True)
        )
    )


def _looked_at(name: str, content: Content, categories: Mapping[str, tuple[str, ...] | None]) -> list[Binned]:
    """What of a column is looked at; a number's bins are still to come."""
    if content == "date":
        return [Binned(name, "numeric", (), "day"), Binned(name, "categorical", WEEKDAYS, "weekday")]
    if content == "array":
        return [Binned(name, "numeric", (), "norm")]
    if content == "number":
        return [Binned(name, "numeric", ())]
    known = categories[name]
    return [Binned(name, "numeric", (), "length") if known is None else Binned(name, "categorical", known)]


def baseline_of(model: ModelURI) -> Baseline:
    """Find the baseline that was logged with the run that made a model.

    Raises
    ------
    TrackingError
        There is no such model, or its run holds no baseline.
    """
    from mlflow import MlflowClient

    return read_baseline(MlflowClient(), run_id_of(model), uri_of(model))


def run_id_of(model: ModelURI) -> str:
    """Find the run that made a model.

    Raises
    ------
    TrackingError
        There is no such model.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.models import get_model_info

    uri = uri_of(model)
    try:
        return str(get_model_info(uri).run_id)
    except (MlflowException, OSError) as error:
        raise TrackingError(f"baseline: the model {uri!r} can't be found: {error}. Check its name.") from error


def read_baseline(client: MlflowClient, run_id: str, model: str) -> Baseline:
    """Read the baseline of a run; `model` says in a message whose it is.

    Raises
    ------
    TrackingError
        The run holds none.
    """
    from mlflow.exceptions import MlflowException

    try:
        with TemporaryDirectory() as folder:
            text = Path(client.download_artifacts(run_id, _FILE, folder)).read_text()
        columns = [
            BaselineColumn(
                # One of an earlier version of this package looks at values only.
                binned=Binned(**{**one["binned"], "bins": tuple(one["binned"]["bins"])}),
                type=one["type"],
                counts=tuple(one["counts"]),
                quantiles=tuple(one["quantiles"]),
            )
            for one in json.loads(text)["columns"]
        ]
    except (MlflowException, OSError, ValueError, KeyError, TypeError) as error:
        raise TrackingError(
            f"baseline: the run {run_id!r} of the model {model!r} holds no {_FILE} that can be read. Make one of its "
            f"training table: with mlflow.start_run(run_id={run_id!r}): profile('the table').log(). Or give the "
            "table or its rows as baseline=."
        ) from error
    return Baseline(tuple(columns))


def comparable(places: Mapping[str, Mapping[str, str]], columns: Sequence[str]) -> dict[str, Content]:
    """What each column holds, checked to be the same wherever it is needed.

    Parameters
    ----------
    places : mapping
        From "the current data", say, to the Spark types there. A column of nothing but missing values fits any other.
    columns : sequence of str

    Raises
    ------
    TableError
        Names every column that is absent, holds something else elsewhere, or can't be looked at.
    """
    if not columns:
        raise TableError("columns: none given; name the columns to compare.")
    problems = []
    contents: dict[str, Content] = {}
    for name in columns:
        absent = [place for place, types in places.items() if name not in types]
        there = {place: types[name] for place, types in places.items() if name in types and types[name] != "void"}
        found = {place: _content(kind) for place, kind in there.items()}
        odd = [f"{there[place]} in {place}" for place, content in found.items() if content is None]
        if absent:
            problems.append(f"{name!r} is not in {' nor in '.join(absent)}")
        elif odd:
            problems.append(
                f"{name!r} is {' and '.join(odd)}, neither number, text, boolean, date nor array of numbers"
            )
        elif len(set(found.values())) > 1:
            problems.append(f"{name!r} is " + " and ".join(f"{kind} in {place}" for place, kind in there.items()))
        else:
            contents[name] = next((content for content in found.values() if content), "text")
    if problems:
        raise TableError(f"These columns can't be compared: {'; '.join(problems)}. Name those to compare in columns=.")
    return contents


def _content(type_name: str) -> Content | None:
    plain = type_name.partition("(")[0]
    element = type_name.removeprefix("array<").removesuffix(">")
    if element != type_name:
        return "array" if _content(element) == "number" else None
    if plain in {"tinyint", "smallint", "int", "bigint", "float", "double", "decimal"}:
        return "number"
    if plain in {"date", "timestamp", "timestamp_ntz"}:
        return "date"
    return "text" if plain in {"string", "char", "varchar", "boolean"} else None
