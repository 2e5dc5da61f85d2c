"""What a model answers to the rows, or why it does not: a model that fails is judged, and raises nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from adbazureml.errors import TableError
from adbazureml.text import first_line

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.pyfunc import PyFuncModel
    from numpy.typing import NDArray

    from adbazureml.validation.metrics import Task

_TIMES = 5


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A model's answers to rows.

    Attributes
    ----------
    values : numpy.ndarray
        One a row.
    probabilities : numpy.ndarray or None
        Of shape (rows, classes), where the model gives them.
    classes : numpy.ndarray or None
        The classes in the order of their probabilities.
    """

    values: NDArray[Any]
    probabilities: NDArray[np.float64] | None = None
    classes: NDArray[Any] | None = None


def load(uri: str) -> tuple[PyFuncModel | None, str]:
    """Load a model, or say why it can't be: its libraries are not here, its files are broken."""
    import mlflow

    try:
        return mlflow.pyfunc.load_model(uri), ""
    except Exception as error:
        # A model's own loading may raise anything.
        return None, f"can't be loaded: {_said(error)}"


def ask(model: PyFuncModel, rows: pd.DataFrame, task: Task, uri: str) -> tuple[Answers | None, str]:
    """Let a model answer rows, or say why it does not: it raises, or something else than an answer a row comes back.

    Raises
    ------
    TableError
        The rows lack a column that it takes.
    """
    chosen = taken(model, rows, uri)
    try:
        answered = np.asarray(model.predict(chosen))
        values = answered.reshape(len(rows), -1)[:, 0]
        probabilities, classes = _probabilities(model, chosen) if task == "classification" else (None, None)
        if task == "regression":
            values = values.astype(np.float64)
    except Exception as error:
        # The model's own code may raise anything.
        return None, f"fails on the rows: {_said(error)}"
    import pandas as pd

    unanswered = int(pd.isna(values).sum()) + (int(np.isinf(values).sum()) if task == "regression" else 0)
    if unanswered:
        return None, f"answers {unanswered:,} of {len(rows):,} rows by no number or class"
    if probabilities is not None and not np.isfinite(probabilities).all():
        return None, "gives probabilities that are no numbers"
    return Answers(values=values, probabilities=probabilities, classes=classes), ""


def latency_of(model: PyFuncModel, rows: pd.DataFrame, uri: str) -> float:
    """Milliseconds that the model takes for one row: the median of five times, after one that warms it up."""
    one = taken(model, rows, uri).head(1)
    model.predict(one)
    took = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        model.predict(one)
        took.append(time.perf_counter() - start)
    return 1_000 * median(took)


def taken(model: PyFuncModel, rows: pd.DataFrame, uri: str) -> pd.DataFrame:
    """The columns that the model takes, in its order."""
    schema = model.metadata.get_input_schema()
    wanted = list(rows.columns) if schema is None or not schema.has_input_names() else schema.input_names()
    required = set(wanted) if schema is None else set(schema.required_input_names() or wanted)
    lacking = [name for name in wanted if name in required and name not in rows.columns]
    if lacking:
        raise TableError(f"data lacks {', '.join(map(repr, lacking))}, which {uri!r} takes.")
    return rows[[name for name in wanted if name in rows.columns]]


def _probabilities(model: PyFuncModel, rows: pd.DataFrame) -> tuple[NDArray[np.float64] | None, NDArray[Any] | None]:
    """What `predict_proba` of a classifier with scikit-learn's interface gives; None of any other model."""
    try:
        inner: Any = model.get_raw_model()
    except NotImplementedError:
        return None, None
    if not hasattr(inner, "predict_proba") or not hasattr(inner, "classes_"):
        return None, None
    return np.asarray(inner.predict_proba(rows), dtype=np.float64), np.asarray(inner.classes_)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
