"""Compare what an endpoint answers with what its model predicts, and take the time of single rows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from adbazureml.deployment.scoring_client import request_of
from adbazureml.errors import DeploymentError
from adbazureml.tracking.run_description import tell_outcome

if TYPE_CHECKING:
    import pandas as pd

Ask = Callable[[Mapping[str, Any]], Any]

_RELATIVE_TOLERANCE = 1e-6
# Sums that cancel leave a remainder near 0 whose relative difference says nothing.
_ABSOLUTE_TOLERANCE = 1e-12
_ROWS_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Outcome of a comparison in which endpoint and model agree.

    Attributes
    ----------
    table : pandas.DataFrame of shape (n_rows, 2 * n_outputs)
        Predictions of the endpoint and of the model; columns ``endpoint`` and ``model``, for models of several
        outputs ``endpoint <output>`` and ``model <output>``.
    largest_difference : float
        Largest absolute difference of two numbers, in the unit of the prediction; 0 for models that predict no numbers.
    calls : int
        Number of single-row calls that were timed.
    p50_ms, p99_ms : float
        Median and 99th percentile of the time of a single-row call of `Endpoint.score`, in milliseconds.
    """

    table: pd.DataFrame
    largest_difference: float
    calls: int
    p50_ms: float
    p99_ms: float

    def log(self, *, endpoint: str, model_uri: str) -> None:
        """Log it to the active MLflow run: a sentence, the endpoint's name, its model, the figures."""
        import mlflow

        mlflow.log_params({"endpoint": endpoint, "model_uri": model_uri})
        mlflow.log_metrics(
            {
                "compared_rows": len(self.table),
                "largest_difference": self.largest_difference,
                "p50_ms": self.p50_ms,
                "p99_ms": self.p99_ms,
            }
        )
        tell_outcome("deploy", f"Endpoint {endpoint} answers as {model_uri} does: {self}.")

    def __str__(self) -> str:
        return (
            f"{len(self.table)} rows, largest difference {self.largest_difference:.3g}; single rows: p50"
            f" {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms over {self.calls} calls"
        )

    def _repr_html_(self) -> str:
        return f"<p>{self}</p>{self.table.head(_ROWS_SHOWN).to_html()}"


def compare(ask: Ask, model_uri: str, frame: pd.DataFrame, *, calls: int) -> Comparison:
    """Ask the endpoint and the model for the same rows; see `Endpoint.compare`."""
    import numpy as np
    import pandas as pd
    from mlflow import pyfunc

    if not isinstance(frame, pd.DataFrame) or frame.empty:
        raise DeploymentError("frame: give a pandas DataFrame of at least one row to compare.")
    answered = ask(request_of(frame))
    predicted = rendered(pyfunc.load_model(model_uri).predict(frame))
    table, largest = compare_answers(model_uri, answered, predicted)
    rows = [request_of(frame.iloc[[number % len(frame)]]) for number in range(calls)]
    times_ms = np.array([_timed_ms(ask, row) for row in rows])
    p50, p99 = np.percentile(times_ms, [50, 99])
    return Comparison(table=table, largest_difference=largest, calls=calls, p50_ms=float(p50), p99_ms=float(p99))


def rendered(predictions: Any) -> Any:
    """Predictions of a model as its endpoint gives them: rendered as JSON by MLflow, with None for NaN and infinity."""
    from mlflow.pyfunc.scoring_server import predictions_to_json

    text = StringIO()
    predictions_to_json(predictions, text)
    return json.loads(text.getvalue(), parse_constant=lambda _: None)["predictions"]


def compare_answers(model_uri: str, answered: Any, predicted: Any) -> tuple[pd.DataFrame, float]:
    """Put answers and predictions side by side.

    Returns
    -------
    table : pandas.DataFrame
        See `Comparison.table`.
    largest : float
        See `Comparison.largest_difference`.

    Raises
    ------
    DeploymentError
        They are not the same.
    """
    import numpy as np
    import pandas as pd

    answers, predictions = _as_frame(answered), _as_frame(predicted)
    if answers.shape != predictions.shape or list(answers.columns) != list(predictions.columns):
        raise DeploymentError(
            f"The endpoint answers with shape {answers.shape}, {model_uri} with {predictions.shape}: deploy it again."
        )
    columns, largest = {}, 0.0
    for column in answers.columns:
        mine, other = answers[column], predictions[column]
        suffix = "" if len(answers.columns) == 1 else f" {column}"
        columns[f"endpoint{suffix}"], columns[f"model{suffix}"] = mine, other
        if pd.api.types.is_numeric_dtype(mine) and pd.api.types.is_numeric_dtype(other):
            left, right = mine.to_numpy(dtype=float), other.to_numpy(dtype=float)
            same = np.isclose(left, right, rtol=_RELATIVE_TOLERANCE, atol=_ABSOLUTE_TOLERANCE, equal_nan=True)
            with np.errstate(invalid="ignore"):
                largest = max(largest, float(np.nan_to_num(np.abs(left - right)).max()))
        else:
            same = np.array([a == b for a, b in zip(mine.tolist(), other.tolist(), strict=True)])
        if not same.all():
            row = int(np.flatnonzero(~same)[0])
            raise DeploymentError(
                f"The endpoint does not answer as {model_uri} does: {int((~same).sum())} of {len(same)} rows differ,"
                f" first row {row}: endpoint {mine.iloc[row]}, model {other.iloc[row]};"
                " deploy the model again."
            )
    return pd.DataFrame(columns), largest


def _timed_ms(ask: Ask, row: Mapping[str, Any]) -> float:
    started = time.perf_counter()
    ask(row)
    return (time.perf_counter() - started) * 1000


def _as_frame(predictions: Any) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(predictions if isinstance(predictions, (list, dict)) else [predictions])
