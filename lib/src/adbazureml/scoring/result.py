"""What scoring a table gave: how many rows, how fast, some of them, and how the predictions are spread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.errors import TableError
from adbazureml.runtime.colours import BLUE
from adbazureml.scoring.stream import Batches, explain_stream_error
from adbazureml.scoring.version_predictions import predictions_of
from adbazureml.scoring.waiting_query import WaitingQuery
from adbazureml.text import html, identifier
from adbazureml.tracking.run_description import tell_outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming import StreamingQuery

_ROWS_SHOWN = 20
_BARS = 30


@dataclass(frozen=True)
class ScoringResult:
    """What `score` did.

    Attributes
    ----------
    table, into : str
        The table that was scored, and the Delta table of the predictions.
    target_column : str
        Its column of predictions.
    model_uri : str
        The model, by version.
    rows : int
        Rows scored this time.
    seconds : float
        From the first check to the last row.
    rejected : int
        Rows that the model did not take this time.
    rejected_into : str
        The Delta table that took them, with the reasons; empty: one would have failed the scoring.
    engine : str
        What predicted (``sql``, ``python`` or ``spark ml``), and why.
    """

    table: str
    into: str
    target_column: str
    model_uri: str
    rows: int
    seconds: float
    rejected: int = 0
    rejected_into: str = ""
    engine: str = ""

    @property
    def held(self) -> int:
        """Rows that `into` holds for this model version now."""
        from pyspark.sql import functions

        return runtime.table(self.into).where(functions.col("model_uri") == self.model_uri).count()

    @property
    def total(self) -> int:
        """Rows that `into` holds now, of all versions and models."""
        return runtime.table(self.into).count()

    @property
    def rows_per_second(self) -> float:
        """Rows per second, start-up included."""
        return self.rows / self.seconds

    def __str__(self) -> str:
        where = f"{self.into}, column {self.target_column}"
        if not self.rows and not self.rejected:
            return f"Nothing new to score in {self.table}; {where} holds {self.total:,} rows."
        rejected = f", {self.rejected:,} rejected into {self.rejected_into}" if self.rejected else ""
        return f"{self.rows:,} rows of {self.table} scored by {self.model_uri} into {where}{rejected}."

    def show(self) -> None:
        """Show some of the predictions: of this model version, or of all versions where it has none."""
        runtime.display(predictions_of(self.into, model=self.model_uri)[0].limit(_ROWS_SHOWN))

    def histogram(self) -> Figure:
        """Draw how the predictions of this model version are spread, or of all versions where it has none.

        They are counted on Spark.

        Returns
        -------
        matplotlib Figure
            For numbers 30 bins of equal width between the smallest and the largest (nulls and NaN left out); for text
            and booleans the 30 most frequent values. An empty picture that says so where there is no prediction.

        Raises
        ------
        TableError
            The predictions are structs, arrays or the like.
        """
        from matplotlib import pyplot

        predictions, model = predictions_of(self.into, model=self.model_uri)
        edges_or_names, counts = self._counts(predictions)
        figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
        # A figure that pyplot still holds would be shown twice by a notebook.
        pyplot.close(figure)
        if not edges_or_names:
            axes.set(xlabel=self.target_column, ylabel="rows", xticks=[], yticks=[])
        elif isinstance(edges_or_names[0], str):
            axes.barh(edges_or_names[::-1], counts[::-1], color=BLUE)
            axes.set(ylabel=self.target_column, xlabel="rows")
        else:
            axes.stairs(counts, edges_or_names, fill=True, color=BLUE)
            axes.set(xlabel=self.target_column, ylabel="rows")
        axes.set_title(f"{sum(counts):,} predictions of {model}")
        axes.spines[["top", "right"]].set_visible(False)
        return figure

    def log(self, histogram: Figure) -> None:
        """Log it to the active MLflow run: its sentence, the model, how many rows, and the picture.

        Parameters
        ----------
        histogram : matplotlib Figure
            What `histogram` drew.
        """
        import mlflow

        mlflow.log_params({"model_uri": self.model_uri, "scored": self.table, "into": self.into})
        mlflow.log_metrics({"scored_rows": self.rows, "rejected_rows": self.rejected})
        mlflow.log_figure(histogram, "predictions.png", save_kwargs={"facecolor": "white"})
        tell_outcome("score", str(self))

    def _counts(self, frame: DataFrame) -> tuple[list[float] | list[str], list[int]]:
        from pyspark.sql import functions
        from pyspark.sql.types import BooleanType, NumericType, StringType

        column = functions.col(identifier(self.target_column))
        predictions = frame.select(column.alias("value"))
        kind = predictions.schema["value"].dataType
        value = functions.col("value")
        if isinstance(kind, (BooleanType, StringType)):
            found = (
                predictions.groupBy(functions.coalesce(value.cast("string"), functions.lit("null")).alias("value"))
                .count()
                .orderBy(functions.desc("count"), "value")
                .limit(_BARS)
                .collect()
            )
            return [row["value"] for row in found], [row["count"] for row in found]
        if not isinstance(kind, NumericType):
            raise TableError(
                f"target_column: {self.target_column!r} is {kind.simpleString()}; a histogram needs numbers or text."
            )
        numbers = predictions.select(value.cast("double").alias("value")).where(
            value.isNotNull() & ~functions.isnan("value") & (functions.abs(value) < functions.lit(float("inf")))
        )
        low, high = numbers.agg(functions.min("value"), functions.max("value")).first() or (None, None)
        if low is None:
            return [], []
        width = (high - low) / _BARS or 1.0
        bin_of = functions.least(functions.floor((value - low) / width), functions.lit(_BARS - 1)).cast("int")
        counted = {row["bin"]: row["count"] for row in numbers.groupBy(bin_of.alias("bin")).count().collect()}
        return [low + width * i for i in range(_BARS + 1)], [counted.get(i, 0) for i in range(_BARS)]

    def _repr_html_(self) -> str:
        shown_rows = {
            "scored": self.table,
            "model": self.model_uri,
            "into": f"{self.into}, column {self.target_column}",
            "rows": f"{self.rows:,}",
            **({"rejected rows": f"{self.rejected:,}, in {self.rejected_into}"} if self.rejected_into else {}),
            "rows there now": f"{self.held:,}",
            "engine": self.engine,
            "time": f"{self.seconds:.1f} s ({self.rows_per_second:,.0f} rows/s)",
        }
        nothing_new = "" if self.rows or self.rejected else f"<p>{escape(str(self))}</p>"
        return nothing_new + html.html_table(shown_rows.items())


@dataclass(frozen=True)
class ScoringStream:
    """Scoring that goes on as the table grows, until it is stopped.

    Attributes
    ----------
    table, into : str
        The table that is scored, and the Delta table of the predictions.
    model_uri : str
        The model, by version.
    """

    table: str
    into: str
    model_uri: str
    _query: StreamingQuery | WaitingQuery
    _batches: Batches

    @property
    def rows(self) -> int:
        """Rows scored since the start, as the history of `into` tells."""
        return self._batches.count()[0]

    @property
    def running(self) -> bool:
        """Whether it still scores."""
        return bool(self._query.isActive)

    @property
    def rows_per_second(self) -> float:
        """Rows per second of the newest batch; 0 before the first."""
        last = self._query.lastProgress
        return float(last["processedRowsPerSecond"]) if last else 0.0

    def catch_up(self) -> None:
        """Wait until all that the table holds now is scored.

        Raises
        ------
        TableError, ScoringError
            See `score`.
        """
        self._guarded(self._query.processAllAvailable)

    def wait(self, seconds: int | None = None) -> None:
        """Wait until it is stopped, or for some seconds.

        Raises
        ------
        TableError, ScoringError
            See `score`.
        """
        self._guarded(partial(self._query.awaitTermination, seconds))

    def stop(self) -> None:
        """Stop scoring; the next run goes on from here."""
        self._query.stop()

    def _guarded(self, step: Callable[[], object]) -> None:
        from pyspark.errors import PySparkException

        try:
            step()
        except PySparkException as error:
            raise explain_stream_error(error, self._batches, source=self.table) from error

    def _repr_html_(self) -> str:
        state = f"running, {self.rows_per_second:,.0f} rows/s" if self.running else "stopped"
        said = f"{self.table} into {self.into} by {self.model_uri}: {self.rows:,} rows, {state}"
        return f"<p>{escape(said)}</p>"
