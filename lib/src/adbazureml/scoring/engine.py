"""Which engine scores: Spark SQL where a model has a translation that gives the model's own answers, else Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from adbazureml.errors import ScoringError, SettingsError
from adbazureml.scoring.class_probabilities import CLASS, PROBABILITIES, class_text
from adbazureml.scoring.library_versions import explain_load
from adbazureml.scoring.signature import inputs, is_tensor, result_type
from adbazureml.scoring.source_table import explain_error
from adbazureml.scoring.sql_translation import NotTranslatableError, SQLModel

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models.model import ModelInfo
    from mlflow.pyfunc import PyFuncModel
    from numpy.typing import NDArray
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

Engine = Literal["auto", "sql", "python"]
_COMPARED_ROWS = 200
_REFUSED_ROWS = 3
_RELATIVE = 1e-9
# Of the largest answer: what is left of a sum whose terms cancel out differs by more than a part of itself.
_ABSOLUTE = 1e-12


@dataclass(frozen=True)
class ChosenEngine:
    """What scores, and why.

    Attributes
    ----------
    name : "sql", "python" or "spark ml"
    reason : str
        The end of a sentence.
    sql : TranslatedModel or None
        The translation, for ``sql``.
    """

    name: str
    reason: str
    sql: TranslatedModel | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class TranslatedModel:
    """A model as SQL, with the type that its predictions have in a table."""

    model: SQLModel
    kind: DataType
    has_probabilities: bool

    def columns(self, given: Mapping[str, Column], *, refusing: bool) -> tuple[Column, Column | None, Column]:
        """Prediction, probabilities by class, and why a row is refused; `refusing`: such a row fails the query.

        Raises
        ------
        NotTranslatableError
            The model, or its probabilities, have no translation.
        """
        from pyspark.sql import functions

        answer = self.model.predictions(given)
        prediction = answer.prediction.cast(self.kind)
        if refusing:
            failed = functions.raise_error(answer.refused)
            prediction = functions.when(answer.refused.isNull(), prediction).otherwise(failed)
        if self.has_probabilities and not answer.probabilities:
            raise NotTranslatableError("its probabilities have no translation")
        if not self.has_probabilities:
            return prediction, None, answer.refused
        classes = functions.array(*(functions.lit(class_text(one)) for one in self.model.classes))
        probabilities = functions.map_from_arrays(classes, functions.array(*answer.probabilities))
        return prediction, functions.when(answer.refused.isNull(), probabilities), answer.refused


def check_engine(engine: str) -> None:
    """Refuse an engine that is none.

    Raises
    ------
    SettingsError
    """
    if engine not in get_args(Engine):
        raise SettingsError(f"engine: {engine!r} is none; give 'auto', 'sql' or 'python'.")


def choose_engine(
    engine: Engine, rows: DataFrame, given: Mapping[str, Column], info: ModelInfo, uri: str, *, probabilities: bool
) -> ChosenEngine:
    """Choose what scores.

    With ``auto`` SQL, where all of the model's steps are among those that have a translation and its answers for up to
    200 of these very rows are the model's: numbers to 1e-9 of themselves, or 1e-12 of the largest, classes the same.

    Parameters
    ----------
    engine : "auto", "sql" or "python"
    rows : pyspark DataFrame
    given : mapping of str to pyspark Column
        The model's inputs in the types of its signature.
    info : mlflow ModelInfo
    uri : str
    probabilities : bool
        Whether those of the classes are asked for too.

    Raises
    ------
    ScoringError
        ``sql`` is asked for, and can't be had.
    """
    if "spark" in info.flavors:
        return ChosenEngine("spark ml", "the model runs on Spark itself")
    if engine == "python":
        return ChosenEngine("python", "asked for")
    try:
        _check_flavor(info)
        model = _loaded(uri)
        translated = _translated(model, given, info, probabilities=probabilities)
        compared = _compare(translated, model, rows, given)
    except NotTranslatableError as error:
        if engine == "sql":
            raise ScoringError(
                f"engine: {uri!r} can't be scored by SQL: {error}. Leave engine 'auto', which then scores in Python."
            ) from error
        return ChosenEngine("python", str(error))
    return ChosenEngine("sql", compared, translated)


def _check_flavor(info: ModelInfo) -> None:
    function = info.flavors.get("python_function", {})
    if "sklearn" not in info.flavors or function.get("loader_module") != "mlflow.sklearn":
        raise NotTranslatableError("only scikit-learn's models have a translation")
    if function.get("predict_fn", "predict") != "predict":
        raise NotTranslatableError(f"it answers by {function['predict_fn']}")


def _translated(
    loaded: PyFuncModel, given: Mapping[str, Column], info: ModelInfo, *, probabilities: bool
) -> TranslatedModel:
    names, specs = inputs(info)
    kinds = dict(zip(names or list(given), map(_kind, _each(specs, given)), strict=True))
    model = SQLModel(loaded.get_raw_model(), kinds)
    return TranslatedModel(model, _prediction_type(model, info, probabilities=probabilities), probabilities)


def _each(specs: Sequence[Any], given: Mapping[str, Column]) -> list[Any]:
    """What the signature says of each input: a matrix says it once."""
    if len(specs) == 1 and is_tensor(specs[0]) and specs[0].name is None:
        return [specs[0]] * len(given)
    if not specs:
        raise NotTranslatableError("it has no signature")
    return list(specs)


def _kind(spec: Any) -> str:
    if not is_tensor(spec):
        return str(getattr(spec.type, "name", "nested"))
    return "double" if str(spec.type) == "float64" else f"a tensor of {spec.type}"


def _loaded(uri: str) -> PyFuncModel:
    import mlflow

    try:
        loaded: PyFuncModel = mlflow.pyfunc.load_model(uri)
    except Exception as error:
        # Unpickling may raise anything; Python's workers then say what to do.
        raise NotTranslatableError(explain_load(uri, error)) from error
    return loaded


def _prediction_type(model: SQLModel, info: ModelInfo, *, probabilities: bool) -> DataType:
    """The type that the same model's predictions have when Python scores.

    Raises
    ------
    NotTranslatableError
        They are of several columns, or of another type than the model gives.
    """
    from mlflow.types.schema import DataType as MlflowType

    gives = MlflowType.double
    if model.classes:
        gives = MlflowType.from_numpy_type(np.asarray(model.classes).dtype) or MlflowType.string
    own: DataType = gives.to_spark()
    if probabilities:
        return own
    outputs = info.signature.outputs.inputs if info.signature and info.signature.outputs else []
    kind = result_type(info)
    if kind is None and len(outputs) == 1 and not is_tensor(outputs[0]) and isinstance(outputs[0].type, MlflowType):
        kind = outputs[0].type.to_spark()
    if kind is None or kind != own:
        raise NotTranslatableError("its signature's output is of another type than the model gives, or missing")
    return kind


def _compare(translated: TranslatedModel, model: PyFuncModel, rows: DataFrame, given: Mapping[str, Column]) -> str:
    """Hold the translation against the model on some of the rows.

    Returns
    -------
    str
        How many were compared.

    Raises
    ------
    NotTranslatableError
        The answers differ, or can't be had.
    """
    from pyspark.errors import PySparkException

    asked = [column.alias(f"in_{index}") for index, column in enumerate(given.values())]
    prediction, probabilities, refused = translated.columns(given, refusing=False)
    made = [prediction.alias(CLASS), refused.alias("refused")]
    made += [probabilities.alias(PROBABILITIES)] if probabilities is not None else []
    try:
        sample = rows.limit(_COMPARED_ROWS).select(*asked, *made).toPandas()
    except PySparkException as error:
        raise NotTranslatableError(f"the comparison failed: {explain_error(error)}") from error
    frame = sample.iloc[:, : len(asked)].set_axis(list(given), axis="columns")
    taken = sample["refused"].isna()
    # A null among whole numbers or booleans makes another type of the whole column.
    types = {"long": "int64", "integer": "int32", "boolean": "bool"}
    whole = {name: types[kind] for name, kind in translated.model.kinds.items() if kind in types}
    _compare_taken(model, frame[taken].astype(whole), sample[taken], translated)
    for index in frame.index[~taken][:_REFUSED_ROWS]:
        if _answer(model, frame.loc[[index]]) is not None:
            raise NotTranslatableError("SQL refused a row that the model takes")
    return f"the model's own answers on {len(sample)} rows compared"


def _compare_taken(model: Any, frame: pd.DataFrame, sample: pd.DataFrame, translated: TranslatedModel) -> None:
    if frame.empty:
        return
    expected = _answer(model, frame)
    if expected is None:
        raise NotTranslatableError("the model refused rows that SQL takes")
    estimator = translated.model.estimator
    if translated.model.classes:
        same = bool(np.array_equal(np.asarray(expected).ravel(), sample[CLASS].to_numpy()))
    else:
        same = _close(np.asarray(expected, dtype=float).ravel(), sample[CLASS].to_numpy(dtype=float))
    if same and translated.has_probabilities:
        found = np.array([list(one.values()) for one in sample[PROBABILITIES]], dtype=float)
        same = _close(np.asarray(estimator.predict_proba(frame), dtype=float), found)
    if not same:
        raise NotTranslatableError("SQL and the model differ on these rows")


def _answer(model: Any, frame: pd.DataFrame) -> Any:
    """What the model predicts; None where it refuses."""
    try:
        return model.predict(frame)
    except Exception:
        # A model may raise anything.
        return None


def _close(expected: NDArray[Any], found: NDArray[Any]) -> bool:
    largest = float(np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0))
    return bool(np.allclose(found, expected, rtol=_RELATIVE, atol=_ABSOLUTE * largest, equal_nan=True))
