"""A model named by its MLflow URI: which version it is, what it takes, and its predictions for a Spark frame."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from adbazureml import runtime
from adbazureml.errors import ScoringError, TableError
from adbazureml.registry.model_uri import ModelURI, uri_of
from adbazureml.scoring.class_probabilities import CLASS, PROBABILITIES, by_class, classifying_model
from adbazureml.scoring.library_versions import explain_load
from adbazureml.scoring.signature import arguments, cast_arguments, inputs, is_tensor, result_type
from adbazureml.scoring.source_table import explain_error, find_columns
from adbazureml.scoring.spark_ml import transformed
from adbazureml.text import identifier

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

    from adbazureml.scoring.engine import TranslatedModel

_VERSION = re.compile(r"models:/(?P<name>[^/@]+)(/(?P<version>\d+)|@(?P<alias>[^/@]+))")
_LOGGED_MODEL = re.compile(r"models:/(?P<id>m-[^/@]+)")
_RUN = re.compile(r"runs:/(?P<id>[^/]+)/.+")


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from, as written beside each of its predictions.

    Attributes
    ----------
    uri : str
        The MLflow URI, with an alias replaced by the version it stood for.
    name : str
        Name of the registered model; for other URIs the id of the run or logged model.
    version : str
        Version of the registered model; empty for other URIs.
    probabilities : bool
        Whether it is asked for the probabilities of the classes too.
    """

    uri: str
    name: str
    version: str
    probabilities: bool = False

    @cached_property
    def info(self) -> ModelInfo:
        """What MLflow knows of the model: signature and flavours."""
        return _model_info(self.uri)

    @cached_property
    def udf(self) -> Callable[..., Column]:
        """The model as a Spark function of its inputs."""
        return _udf(*self._shape)

    @cached_property
    def row_by_row(self) -> Callable[..., Column]:
        """The model as a Spark function of one struct, which tells of each row why it was rejected."""
        from adbazureml.scoring.rejected_rows import row_rejecting_model

        return _udf(*row_rejecting_model(self.info, *self._shape))

    @property
    def classes(self) -> list[str]:
        """The classes that there are probabilities of, in their order."""
        return self._classifying[2]

    @cached_property
    def _classifying(self) -> tuple[str, DataType, list[str]]:
        return classifying_model(self.info, self.uri)

    @property
    def _shape(self) -> tuple[str, DataType | None]:
        """The URI of what Spark is to call, and the type that it gives; None: as MLflow reads the signature."""
        return self._classifying[:2] if self.probabilities else (self.uri, result_type(self.info))


def predict(
    frame: DataFrame, *, model: ModelURI, columns: Sequence[str] | None = None, target_column: str = "prediction"
) -> DataFrame:
    """Add a model's predictions to a Spark frame.

    A Spark ML model transforms the frame; any other model runs in Spark's Python workers, in the environment of the
    cluster, loaded once per task.

    Parameters
    ----------
    frame : pyspark DataFrame
        The rows; columns that the model does not take are kept as they are.
    model : str or RegisteredVersion
        What `register` returned, or an MLflow URI: ``models:/name/3``, ``models:/name@alias``, ``models:/m-<id>`` or
        ``runs:/<run id>/<name>``.
    columns : sequence of str, optional
        The model's inputs in its signature's order. By default the columns named in the signature.
    target_column : str
        The column that takes the predictions. Its type follows the signature's output (double where there is none; a
        struct for several outputs).

    Returns
    -------
    pyspark DataFrame
        The frame with the column `target_column` at its end; the model runs when the frame is used.

    Raises
    ------
    TableError
        Columns are missing, have types that the signature does not take, or one is named `target_column` already.
    ScoringError
        There is no such model, or it can't be loaded or used on these columns.
    """
    return prepare(frame, source=find_model(model), columns=columns, target_column=target_column)


def find_model(model: ModelURI, *, probabilities: bool = False) -> ModelSource:
    """Tell which model a URI names now; `probabilities`: whether it is asked for those of the classes too.

    Raises
    ------
    ScoringError
        The URI is of another form, or its alias does not exist.
    """
    model = uri_of(model)
    if found := _LOGGED_MODEL.fullmatch(model) or _RUN.fullmatch(model):
        return ModelSource(model, found["id"], version="", probabilities=probabilities)
    found = _VERSION.fullmatch(model)
    if not found:
        raise ScoringError(
            f"model: {model!r} names no one model for good; give models:/<name>/<version>, models:/<name>@<alias>, "
            "models:/m-<id> or runs:/<run id>/<name>."
        )
    version = found["version"] or _version_of_alias(model, found["name"], found["alias"])
    return ModelSource(f"models:/{found['name']}/{version}", found["name"], version, probabilities)


def prepare(
    frame: DataFrame,
    *,
    source: ModelSource,
    columns: Sequence[str] | None,
    target_column: str,
    probability_column: str = "",
    rejected_column: str = "",
    sql: TranslatedModel | None = None,
) -> DataFrame:
    """Check a frame against a model and plan its predictions; see `predict` for parameters and errors.

    With `rejected_column`, a row that the model does not take has no prediction and there the reason; of other rows it
    is null. `source` says whether there are probabilities for `probability_column`. `sql` predicts in place of the
    model.
    """
    taken_names = {name.lower() for name in frame.columns}
    for setting, name in (("target_column", target_column), ("probability_column", probability_column)):
        if name.lower() in taken_names:
            raise TableError(f"{setting}: the rows to score already have a column {name!r}; choose another name.")
    info = source.info
    names, specs = inputs(info)
    taken = chosen_columns(frame, columns, names, specs, source.uri)
    given = arguments(frame, taken, specs, source.uri)
    input_names = names or [str(name) for name in taken]
    by_name = {name: column for name, column in zip(input_names, given, strict=True) if column is not None}
    if "spark" in info.flavors:
        if rejected_column:
            raise ScoringError(
                f"rejected_into: {source.uri!r} is a Spark ML model, which takes all rows or none; leave rejected_into "
                "empty, and train the model's stages with handleInvalid='keep' or 'skip'."
            )
        return transformed(frame, source.uri, by_name, target_column, probability_column)
    if not rejected_column:
        kinds = [getattr(getattr(spec, "type", None), "name", "") for spec in specs]
        for name, column, kind in zip(input_names, taken, kinds, strict=False):
            if column and kind in {"integer", "long"}:
                by_name[name] = _not_null(by_name[name], column)
    if sql is not None:
        made = sql.columns(by_name, refusing=not rejected_column)
        wanted = zip((target_column, probability_column, rejected_column), made, strict=True)
        return frame.withColumns({name: column for name, column in wanted if name and column is not None})
    if rejected_column:
        scored = _each_by_itself(frame, source.row_by_row(_row(by_name)), target_column, rejected_column)
        return _parted(scored, source, target_column, probability_column)
    by_position = names is not None or (bool(specs) and not is_tensor(specs[0]))
    # Without a signature's names, MLflow would number the columns, or drop all but the first for a matrix; and it takes
    # the first ones for those that are there.
    whole = not by_position or len(by_name) < len(given)
    asked = [_row(by_name)] if whole else list(by_name.values())
    return _parted(frame.withColumn(target_column, source.udf(*asked)), source, target_column, probability_column)


def inputs_for_sql(frame: DataFrame, source: ModelSource, columns: Sequence[str] | None) -> dict[str, Column]:
    """The model's inputs by name, those that are there, cast to the types of its signature.

    Raises
    ------
    TableError, ScoringError
        See `predict`.
    """
    names, specs = inputs(source.info)
    taken = chosen_columns(frame, columns, names, specs, source.uri)
    given, _ = cast_arguments(frame, taken, specs, source.uri)
    found = zip(names or map(str, taken), taken, given, strict=True)
    return {name: column for name, there, column in found if there is not None and column is not None}


def _parted(scored: DataFrame, source: ModelSource, target_column: str, probability_column: str) -> DataFrame:
    from pyspark.sql import functions

    if not probability_column:
        return scored
    both = functions.col(identifier(target_column))
    classes = functions.array(*map(functions.lit, source.classes))
    return scored.withColumns({probability_column: by_class(both[PROBABILITIES], classes), target_column: both[CLASS]})


def _row(given: Mapping[str, Column]) -> Column:
    from pyspark.sql import functions

    return functions.struct(*(column.alias(name) for name, column in given.items()))


def _each_by_itself(frame: DataFrame, asked: Column, target_column: str, rejected_column: str) -> DataFrame:
    from pyspark.sql import functions

    # In one column first: Spark would run the model for each use of it.
    outcome = "__adbazureml_outcome"
    return (
        frame.withColumn(outcome, asked)
        .withColumns(
            {
                target_column: functions.try_element_at(f"{outcome}.value", functions.lit(1)),
                rejected_column: functions.nullif(functions.col(f"{outcome}.rejected"), functions.lit("")),
            }
        )
        .drop(outcome)
    )


def _not_null(column: Column, name: str) -> Column:
    """Fail on a null where the model takes integers: pandas makes floats of such a column, which MLflow rejects."""
    from pyspark.sql import functions

    said = (
        f"the model takes {name} as integers, and some rows hold null there; leave them out with "
        f'where="{identifier(name)} IS NOT NULL", or log the model with doubles in its signature'
    )
    return functions.coalesce(column, functions.raise_error(functions.lit(said)))


def chosen_columns(
    frame: DataFrame, columns: Sequence[str] | None, names: list[str] | None, specs: list[Any], uri: str
) -> list[str | None]:
    """The frame's column for each input of the model; None for an optional one that is absent."""
    if columns is not None:
        if names is not None and len(columns) != len(names):
            raise TableError(f"columns: {len(columns)} given, {uri!r} takes {len(names)}, in this order: {names}.")
        return list(find_columns(frame, columns, asked_by="columns="))
    if names is None:
        raise ScoringError(
            f"model: {uri!r} has no signature with named inputs; give columns= in the order in which the model takes "
            "them, or log it with a signature."
        )
    there = {name.lower() for name in frame.columns}
    wanted = [
        name
        for name, spec in zip(names, specs, strict=True)
        if getattr(spec, "required", True) or name.lower() in there
    ]
    found = dict(zip(wanted, find_columns(frame, wanted, asked_by=f"model {uri!r}"), strict=True))
    return [found.get(name) for name in names]


def _version_of_alias(model: str, name: str, alias: str) -> str:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        return str(MlflowClient().get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        raise ScoringError(f"model: {model!r} can't be found: {explain_error(error)}. Register it first.") from error


def _model_info(uri: str) -> ModelInfo:
    from mlflow.exceptions import MlflowException
    from mlflow.models import get_model_info

    try:
        return get_model_info(uri)
    except (MlflowException, OSError) as error:
        raise ScoringError(
            f"model: {uri!r} can't be found: {explain_error(error)}. Check the name, and that it was logged or "
            "registered where MLflow looks now."
        ) from error


def _udf(uri: str, kind: DataType | None) -> Callable[..., Column]:
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import spark_udf

    try:
        model: Callable[..., Column] = spark_udf(runtime.spark(), uri, result_type=kind, env_manager="local")
    except (MlflowException, ImportError, OSError) as error:
        raise ScoringError(explain_load(uri, error)) from error
    return model
