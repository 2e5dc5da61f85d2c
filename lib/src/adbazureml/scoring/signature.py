"""A model's signature against a Spark frame: which columns it takes, of which types, and what it gives."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adbazureml.errors import TableError
from adbazureml.scoring.input_types import Fit, fit, lost_inside, spark_type
from adbazureml.text import identifier

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

_logger = logging.getLogger(__name__)


def inputs(info: ModelInfo) -> tuple[list[str] | None, list[Any]]:
    """The names of the signature's inputs, None where they have none, and what it says of each."""
    schema = info.signature.inputs if info.signature else None
    if schema is None:
        return None, []
    return (schema.input_names() if schema.has_input_names() else None), list(schema.inputs)


def is_tensor(spec: Any) -> bool:
    """Whether an input or output is an array of numbers rather than a column."""
    from mlflow.types.schema import TensorSpec

    return isinstance(spec, TensorSpec)


def arguments(frame: DataFrame, taken: Sequence[str | None], specs: Sequence[Any], uri: str) -> list[Column | None]:
    """One Spark column for each input, cast to the type that the signature names; see `input_types`.

    Without a column of its name, an optional input is null; one of whole numbers, which pandas can't hold beside null,
    is None, to be left out. Values that a cast rounds are told by a warning.

    Raises
    ------
    TableError
        Names every column whose type does not fit.
    """
    given, rounded = cast_arguments(frame, taken, specs, uri)
    for name, actual, wanted in rounded:
        _logger.warning("%r is %s and the model takes %s: its values are rounded to the nearest.", name, actual, wanted)
    return given


def cast_arguments(
    frame: DataFrame, taken: Sequence[str | None], specs: Sequence[Any], uri: str
) -> tuple[list[Column | None], list[tuple[str, str, str]]]:
    """What `arguments` gives, and name, type and the model's type of each column whose values are rounded."""
    rounded: list[tuple[str, str, str]] = []
    if len(specs) == 1 and is_tensor(specs[0]) and specs[0].name is None:
        # One matrix: its columns share its type.
        dtype = str(specs[0].type)
        return [_tensor_column(frame, str(name), dtype, rounded) for name in taken], rounded
    given: list[Column | None] = []
    wrong: list[str] = []
    for index, name in enumerate(taken):
        column, problem = _argument(frame, name, specs[index].type if index < len(specs) else None, rounded)
        given.append(column)
        wrong += [problem] if problem else []
    if wrong:
        raise TableError(
            f"table: columns do not fit the signature of {uri!r}: {'; '.join(wrong)}. Cast them first, or name "
            "other columns in columns=."
        )
    return given, rounded


def _argument(
    frame: DataFrame, name: str | None, expected: Any, rounded: list[tuple[str, str, str]]
) -> tuple[Column | None, str]:
    """The column for an input, or what is wrong with it; one that is rounded is added to `rounded`."""
    from mlflow.types.schema import Array
    from mlflow.types.schema import DataType as MlflowType
    from pyspark.sql import functions
    from pyspark.sql.types import ArrayType

    if name is None:
        if not isinstance(expected, MlflowType):
            return functions.lit(None), ""
        absent = functions.lit(None).cast(expected.to_spark())
        return (None if expected in {MlflowType.integer, MlflowType.long} else absent), ""
    column, actual = functions.col(identifier(name)), frame.schema[name].dataType
    if lost := lost_inside(expected):
        return None, f"{name!r} holds {lost} inside a struct or map, which MLflow refuses; log it as double or string"
    kind, element = actual, expected
    depth = 0
    while isinstance(element, Array) and isinstance(kind, ArrayType):
        kind, element, depth = kind.elementType, element.dtype, depth + 1
    if not isinstance(element, MlflowType):
        return column, ""
    found = fit(kind, element.name)
    if found is Fit.REFUSED:
        return None, f"{name!r} is {actual.simpleString()}, the model takes {_in_arrays(element.name, depth)}"
    if found is Fit.ROUNDED:
        rounded.append((name, actual.simpleString(), element.name))
    target = spark_type(kind, element)
    for _ in range(depth):
        target = ArrayType(target)
    return (column if actual.simpleString() == target.simpleString() else column.cast(target)), ""


def _in_arrays(name: str, depth: int) -> str:
    return "array<" * depth + name + ">" * depth


def _tensor_column(frame: DataFrame, name: str, dtype: str, rounded: list[tuple[str, str, str]]) -> Column:
    from mlflow.types.schema import DataType as MlflowType
    from pyspark.sql import functions
    from pyspark.sql.types import NumericType

    names = {"float32": "float", "float64": "double", "int32": "integer", "int64": "long"}
    column, actual = functions.col(identifier(name)), frame.schema[name].dataType
    if dtype not in names or not isinstance(actual, NumericType):
        return column
    wanted = MlflowType[names[dtype]]
    if fit(actual, wanted.name) is Fit.ROUNDED:
        rounded.append((name, actual.simpleString(), wanted.name))
    return column.cast(wanted.to_spark())


def result_type(info: ModelInfo) -> DataType | None:
    """The Spark type of the predictions where MLflow's own choice does not fit: a tensor of one or two dimensions.

    MLflow counts the rows as a dimension of each row's result, and makes an array of one number, or an array of arrays
    that it then can't fill.
    """
    from mlflow.types.schema import DataType as MlflowType
    from pyspark.sql.types import ArrayType

    outputs = info.signature.outputs if info.signature else None
    if outputs is None or len(outputs.inputs) != 1 or not is_tensor(outputs.inputs[0]):
        return None
    shape = outputs.inputs[0].shape
    element = MlflowType.from_numpy_type(outputs.inputs[0].type)
    if element is None or len(shape) > 2:
        return None
    return element.to_spark() if len(shape) == 1 or shape[1] == 1 else ArrayType(element.to_spark())
