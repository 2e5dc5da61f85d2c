"""A model around a model: it says of each row whether the inner one takes it, instead of failing on all of them."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.pyfunc import PythonModel

from adbazureml.errors import ScoringError
from adbazureml.scoring.model_errors import is_of_environment, telling_part
from adbazureml.scoring.signature import is_tensor

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo
    from pyspark.sql.types import DataType, StructType

_REASON_LENGTH = 500


class RowRejectingModel(PythonModel):
    """Predicts in batches; in one that fails, seeks out the rows that the inner model rejects, half by half.

    An error that is not tied to a row fails the whole: one of the environment, or one that the model now also gives for
    a row that it took before, or for its input example.

    Parameters
    ----------
    fields : list of str or None
        Names of the outputs where there are several.
    depth : int
        How many dimensions a row's prediction has.
    """

    def __init__(self, fields: list[str] | None, depth: int) -> None:
        self._fields = fields
        self._depth = depth

    def load_context(self, context: Any) -> None:
        """Load the inner model."""
        import mlflow

        self._model = mlflow.pyfunc.load_model(context.artifacts["model"])
        schema = self._model.metadata.get_input_schema()
        named = schema.inputs if schema is not None and schema.has_input_names() else []
        kinds = {spec.name: getattr(spec.type, "name", "") for spec in named}
        self._whole = {name: kind for name, kind in kinds.items() if kind in {"integer", "long"}}
        example = self._model.input_example
        self._good = example.iloc[:1] if isinstance(example, pd.DataFrame) else None

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:  # noqa: ARG002
        """Give for each row a list with its prediction, and an empty reason; or an empty list, and the reason."""
        values, rejected = self._outcomes(model_input)
        if any(rejected):
            self._check_good_row()
        return pd.DataFrame({"value": pd.Series(values, dtype=object), "rejected": rejected})

    def _outcomes(self, rows: pd.DataFrame) -> tuple[list[list[Any]], list[str]]:
        try:
            values = self._values(rows)
        except Exception as error:
            if is_of_environment(error):
                raise
            if len(rows) > 1:
                middle = len(rows) // 2
                first, second = self._outcomes(rows.iloc[:middle]), self._outcomes(rows.iloc[middle:])
                return first[0] + second[0], first[1] + second[1]
            self._check_good_row()
            return [[]], [_in_one_line(error)[:_REASON_LENGTH]]
        if len(values) != len(rows):
            raise ScoringError(f"The model gave {len(values)} predictions for {len(rows)} rows.")
        self._good = rows.iloc[:1]
        return [[value] for value in values], [""] * len(values)

    def _check_good_row(self) -> None:
        """Fail where the model no longer takes what it did take: then no row is to blame."""
        if self._good is None:
            return
        try:
            self._values(self._good)
        except Exception as error:
            raise ScoringError(
                "No row was set aside, since the model fails on one that it took before, or on its input example, too: "
                f"{_in_one_line(error)}"
            ) from None

    def _values(self, rows: pd.DataFrame) -> list[Any]:
        # A null makes floats of a whole batch's integers, which MLflow rejects; the rows without one are taken.
        found = self._model.predict(
            rows.astype(
                {
                    name: _numpy_type(kind)
                    for name, kind in self._whole.items()
                    if name in rows and not rows[name].isna().any()
                }
            )
        )
        if self._fields is not None:
            records: list[Any] = pd.DataFrame(found)[self._fields].to_dict("records")
            return records
        if self._depth > 1:
            return [getattr(one, "tolist", lambda one=one: one)() for one in found]
        frame = pd.DataFrame(found)
        return list(frame.to_numpy().tolist()) if self._depth else list(frame.iloc[:, 0].tolist())


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {telling_part(str(error))}".split())


def _numpy_type(kind: str) -> str:
    return "int32" if kind == "integer" else "int64"


def row_rejecting_model(info: ModelInfo, uri: str, kind: DataType | None) -> tuple[str, StructType]:
    """Wrap a model, whose predictions are of a Spark type; None: as its signature says.

    Returns
    -------
    str
        Folder of a pyfunc model that takes the inputs of the given one in one struct. It stays until the process ends.
    pyspark StructType
        Of what it gives: ``value``, an array with the prediction or none, and ``rejected``.

    Raises
    ------
    ScoringError
        The predictions are of a type that can't be told row by row.
    """
    import mlflow
    from pyspark.sql.types import ArrayType, StringType, StructField, StructType

    kind = kind or _prediction_type(info, uri)
    depth, element = 0, kind
    while isinstance(element, ArrayType):
        depth, element = depth + 1, element.elementType
    fields = kind.fieldNames() if isinstance(kind, StructType) else None
    folder = tempfile.mkdtemp(dir=_folder_of_this_process().name)
    mlflow.pyfunc.save_model(
        f"{folder}/model",
        python_model=RowRejectingModel(fields, depth),
        artifacts={"model": mlflow.artifacts.download_artifacts(uri, dst_path=str(Path(folder, "inner")))},
        pip_requirements=[],
    )
    return f"{folder}/model", StructType([StructField("value", ArrayType(kind)), StructField("rejected", StringType())])


def _prediction_type(info: ModelInfo, uri: str) -> DataType:
    from mlflow.types.schema import DataType as MlflowType
    from pyspark.sql.types import DoubleType, StructField, StructType

    specs = info.signature.outputs.inputs if info.signature and info.signature.outputs else []
    if any(is_tensor(spec) or not isinstance(spec.type, MlflowType) for spec in specs):
        raise ScoringError(
            f"rejected_into: the outputs of {uri!r} are no columns of numbers or text, so that single rows can't be "
            "set aside; leave rejected_into empty."
        )
    if len(specs) > 1:
        return StructType([StructField(spec.name or str(i), spec.type.to_spark()) for i, spec in enumerate(specs)])
    kind: DataType = specs[0].type.to_spark() if specs else DoubleType()
    return kind


@cache
def _folder_of_this_process() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="adbazureml-rejecting-")
