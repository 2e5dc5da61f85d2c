"""What a model learned from, in figures: made once in training, kept with the run, compared with ever after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from adbazureml.errors import SettingsError, TableError, TrackingError
from adbazureml.monitoring.column_profile import Binned, Kind, column_profiles, edges_of, frequent_categories
from adbazureml.registry.model_uri import ModelURI, uri_of

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from numpy.typing import NDArray
    from pyspark.sql import DataFrame

FOLDER = "drift_baseline"
_FILE = f"{FOLDER}/baseline.json"
# How Azure ML reads the folder as a table.
_MLTABLE = "paths:\n- file: ./rows.parquet\ntransformations:\n- read_parquet\n"
_BINS = 10
_ROWS = 1000
_WHOLE = {"tinyint", "smallint", "int", "bigint"}
OTHER = "(other)"


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
            way each time. Categories beyond the 100 most frequent are ``(other)``.
        """
        import pandas as pd

        order = np.random.default_rng(0)
        return pd.DataFrame({one.binned.name: order.permutation(_typical(one)) for one in self.columns})

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


def profile(frame: DataFrame, *, columns: Sequence[str] | None = None, bins: int = _BINS) -> Baseline:
    """Take the figures of a frame that later data is compared with.

    Numbers are counted in bins between their quantiles, a value that takes several quantiles having a bin of its own;
    text and booleans by category. Null and NaN are one more bin.

    Parameters
    ----------
    frame : pyspark DataFrame
        The training rows, with the model's predictions for them as one more column.
    columns : sequence of str, optional
        By default all.
    bins : int
        Bins of a number, not counting the one of missing values; 2 or more.

    Raises
    ------
    TableError
        The frame has no rows, or a column is not there or neither number, text nor boolean.
    SettingsError
        `bins` is below 2.
    """
    if bins < 2:
        raise SettingsError(f"bins: {bins!r} is wrong; expected 2 or more.")
    types = types_of(frame)
    kinds = comparable({"the baseline": types}, list(types) if columns is None else columns)
    edges = edges_of(frame, [name for name, kind in kinds.items() if kind == "numeric"], bins)
    categories = frequent_categories(frame, [name for name, kind in kinds.items() if kind == "categorical"])
    binned = [Binned(name, kind, (edges | categories)[name]) for name, kind in kinds.items()]
    found = column_profiles(frame, binned).get("")
    if found is None:
        raise TableError("There is no row in the baseline: give the rows that the model learned from.")
    return Baseline(
        tuple(
            BaselineColumn(column, types[column.name], tuple(one.counts.tolist()), tuple(one.quantiles().tolist()))
            for column, one in zip(binned, found, strict=True)
        )
    )


def baseline_of(model: ModelURI) -> Baseline:
    """Find the baseline that was logged with the run that made a model.

    Raises
    ------
    TrackingError
        There is no such model, or its run holds no baseline.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from mlflow.models import get_model_info

    uri = uri_of(model)
    try:
        run_id = get_model_info(uri).run_id
    except (MlflowException, OSError) as error:
        raise TrackingError(f"baseline: the model {uri!r} can't be found: {error}. Check its name.") from error
    return read_baseline(MlflowClient(), run_id, uri)


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
                binned=Binned(one["binned"]["name"], one["binned"]["kind"], tuple(one["binned"]["bins"])),
                type=one["type"],
                counts=tuple(one["counts"]),
                quantiles=tuple(one["quantiles"]),
            )
            for one in json.loads(text)["columns"]
        ]
    except (MlflowException, OSError, ValueError, KeyError, TypeError) as error:
        raise TrackingError(
            f"baseline: the run {run_id!r} of the model {model!r} holds no {_FILE} that can be read. Log one while "
            "training, with profile(rows).log(), or give the training rows themselves as baseline=."
        ) from error
    return Baseline(tuple(columns))


def types_of(frame: DataFrame) -> dict[str, str]:
    """The Spark type of each column."""
    return {field.name: field.dataType.simpleString() for field in frame.schema.fields}


def comparable(places: Mapping[str, Mapping[str, str]], columns: Sequence[str]) -> dict[str, Kind]:
    """The kind of each column, checked to be the same wherever it is needed.

    Parameters
    ----------
    places : mapping
        From "the current data", say, to the Spark types there.
    columns : sequence of str

    Raises
    ------
    TableError
        Names every column that is absent, of another kind elsewhere, or neither number, text nor boolean.
    """
    if not columns:
        raise TableError("columns: none given; name the columns to compare.")
    problems = []
    kinds: dict[str, Kind] = {}
    for name in columns:
        absent = [place for place, types in places.items() if name not in types]
        there = {place: types[name] for place, types in places.items() if name in types}
        found = {place: _kind(kind) for place, kind in there.items()}
        odd = [f"{there[place]} in {place}" for place, kind in found.items() if kind is None]
        if absent:
            problems.append(f"{name!r} is not in {' nor in '.join(absent)}")
        elif odd:
            problems.append(f"{name!r} is {' and '.join(odd)}, neither number, text nor boolean")
        elif len(set(found.values())) > 1:
            problems.append(f"{name!r} is " + " and ".join(f"{kind} in {place}" for place, kind in there.items()))
        elif kind := next(iter(found.values())):
            kinds[name] = kind
    if problems:
        raise TableError(f"These columns can't be compared: {'; '.join(problems)}. Name those to compare in columns=.")
    return kinds


def _kind(type_name: str) -> Kind | None:
    plain = type_name.partition("(")[0]
    if plain in {"tinyint", "smallint", "int", "bigint", "float", "double", "decimal"}:
        return "numeric"
    return "categorical" if plain in {"string", "char", "varchar", "boolean"} else None
