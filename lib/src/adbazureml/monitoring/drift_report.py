"""What a comparison of two tables found, as a table, a picture and metrics."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from html import escape
from typing import TYPE_CHECKING, Literal

from adbazureml import runtime
from adbazureml.errors import DriftError, TableError
from adbazureml.monitoring.alarm import Alarm, alarm_of, past_report, remembered
from adbazureml.monitoring.drift_pictures import ON_WHITE, as_image, days_sentence, draw_columns, draw_days
from adbazureml.monitoring.drift_thresholds import Thresholds
from adbazureml.monitoring.histogram import Histogram
from adbazureml.monitoring.metric_names import metric_names
from adbazureml.monitoring.significance import smallest_shift
from adbazureml.text import html_page
from adbazureml.tracking.run_description import tell_outcome

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_FEW_ROWS = 50
_IN_EACH_TABLE = {"model_uri", "compared_at", "column", "psi"}
_TYPES = (
    "day string, column string, kind string, psi double, js_distance double, ks double, wasserstein double, "
    "missing_current double, missing_baseline double, p_value double, p_adjusted double, drifted boolean"
)


@dataclass(frozen=True)
class ColumnDrift:
    """How far one column moved.

    Attributes
    ----------
    column : str
    kind : "numeric" or "categorical"
    psi : float
        Population stability index over the baseline's quantile bins or categories, missing values being one more.
    js_distance : float
        Jensen-Shannon distance over the same bins, from 0 to 1.
    ks : float or None
        Kolmogorov-Smirnov statistic of the values that are there, from 0 to 1; None for a categorical column, or where
        one side has no value.
    wasserstein : float or None
        Wasserstein distance of the values that are there, in the column's unit; None likewise.
    missing_current, missing_baseline : float
        Shares of null and NaN, from 0 to 1.
    p_value, p_adjusted : float
        Probability of counts as far apart as these in two samples of one population; and the same raised for the number
        of columns (and days) looked at, by Benjamini and Hochberg.
    drifted : bool
        Whether the change is significant, `p_adjusted` being 0.05 at most, and a figure reaches its threshold.
    """

    column: str
    kind: Literal["numeric", "categorical"]
    psi: float
    js_distance: float
    ks: float | None
    wasserstein: float | None
    missing_current: float
    missing_baseline: float
    p_value: float
    p_adjusted: float
    drifted: bool


@dataclass(frozen=True)
class DriftReport:
    """How far new data has moved from its baseline.

    Attributes
    ----------
    columns : tuple of ColumnDrift
        One for each column, in the order asked for.
    thresholds : Thresholds
        From which figures on a significant change counts as drift.
    rows_current, rows_baseline : int
        Rows compared.
    day : str
        The day that the current rows are of; empty for all of them.
    days : tuple of DriftReport
        The same for each day, in order, where asked for.
    source : str
        What the new rows are.
    histograms : tuple of Histogram
        How each column's rows lie in its bins, in the same order; none of a day.
    """

    columns: tuple[ColumnDrift, ...]
    thresholds: Thresholds
    rows_current: int
    rows_baseline: int
    day: str = ""
    days: tuple[DriftReport, ...] = ()
    source: str = ""
    histograms: tuple[Histogram, ...] = field(default=(), repr=False)

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the columns that drifted."""
        return tuple(column.column for column in self.columns if column.drifted)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each column, then for each column of each day: ``day`` and the attributes of `ColumnDrift`."""
        import pandas as pd

        return pd.DataFrame(
            [{"day": report.day, **asdict(column)} for report in (self, *self.days) for column in report.columns]
        )

    def log(self, *, model_uri: str = "") -> None:
        """Log it to the active MLflow run: its sentence, `metrics`, drifted columns by day, pictures, table, page."""
        import mlflow

        if model_uri:
            mlflow.log_param("model_uri", model_uri)
        mlflow.log_metrics(self.metrics())
        tell_outcome("monitor", str(self))
        for step, report in enumerate(self.days):
            mlflow.log_metric("drift_columns_of_day", len(report.drifted), step=step)
        if self.columns:
            mlflow.log_figure(self.plot(), "drift.png", save_kwargs={**ON_WHITE})
        if self.days:
            mlflow.log_figure(self.plot_days(), "drift_by_day.png", save_kwargs={**ON_WHITE})
        mlflow.log_text(self.to_html(), "drift.html")
        mlflow.log_text(self.to_pandas().to_csv(index=False), "drift.csv")

    def append_to(self, table: str, *, model_uri: str = "") -> None:
        """Append `to_pandas` to a Delta table, made where there is none, with the model and the time; or nothing.

        Raises
        ------
        TableError
            The table can't take it; nothing was appended.
        """
        from pyspark.errors import PySparkException
        from pyspark.sql import functions

        if not self.columns:
            return
        if runtime.table_exists(table) and not set(runtime.table(table).columns) >= _IN_EACH_TABLE:
            raise TableError(f"table: {table!r} can't take the figures: it has other columns. Name another table.")
        figures = [(report.day, *asdict(column).values()) for report in (self, *self.days) for column in report.columns]
        rows = (
            runtime.spark()
            .createDataFrame(figures, _TYPES)
            .select(
                functions.lit(model_uri).alias("model_uri"),
                functions.current_timestamp().alias("compared_at"),
                functions.lit(str(self.thresholds)).alias("thresholds"),
                "*",
            )
        )
        try:
            # A table of an earlier version of this package lacks some figures.
            wider = rows.coalesce(1).write.option("mergeSchema", "true")
            wider.saveAsTable(runtime.quoted_table(table), format="delta", mode="append")
        except PySparkException as error:
            said = str(error).partition("\n")[0]
            raise TableError(f"table: {table!r} can't take the figures: {said} Name another table.") from error

    def check(self) -> None:
        """Fail where a column drifted, as a job's task should that guards a model.

        Raises
        ------
        DriftError
            Names the columns.
        """
        if self.drifted:
            named = ", ".join(
                f"{column.column} ({', '.join(self.thresholds.exceeded(asdict(column)))}, p {column.p_adjusted:.2g})"
                for column in self.columns
                if column.drifted
            )
            raise DriftError(
                f"{self.sentence}, threshold being {self.thresholds}: {named}. Look at the figures, then "
                "train anew, or raise threshold if this is no concern."
            )

    def alarm(self, model_uri: str, *, reports: int = 1, of: int = 1) -> Alarm:
        """Whether this report, with those that `log` kept before it in the active experiment, raises the alarm.

        Parameters
        ----------
        model_uri : str
            The model that the reports are on, as `log` was given it; call this before it.
        reports, of : int
            So many of so many last reports with new rows must have found drift, this one among them.

        Raises
        ------
        SettingsError
            `reports` is below 1, or above `of`.
        """
        return alarm_of([past_report(self.metrics()), *remembered(model_uri)], needed=reports, of=of, found=str(self))

    def metrics(self) -> dict[str, float]:
        """The figures as metrics for ``mlflow.log_metrics``, with names that MLflow and Azure ML both take.

        Returns
        -------
        dict of str to float
            ``drift_rows`` (new rows), ``drift_columns`` and ``drift_share`` (columns that drifted, and their share),
            then for each column ``drift_psi/<column>``, ``drift_p/<column>`` (`p_adjusted`), ``drift_js/<column>``,
            ``drift_missing/<column>`` and, for numbers,
            ``drift_ks/<column>`` and ``drift_wasserstein/<column>``. Characters that the names may not hold become
            ``_``; a figure that is not finite is left out.
        """
        found: dict[str, float] = {
            "drift_rows": float(self.rows_current),
            "drift_columns": float(len(self.drifted)),
            "drift_share": len(self.drifted) / max(len(self.columns), 1),
        }
        for name, column in zip(metric_names([column.column for column in self.columns]), self.columns, strict=True):
            figures = {
                "psi": column.psi,
                "p": column.p_adjusted,
                "js": column.js_distance,
                "missing": column.missing_current,
                "ks": column.ks,
                "wasserstein": column.wasserstein,
            }
            found |= {
                f"drift_{figure}/{name}": value
                for figure, value in figures.items()
                if value is not None and math.isfinite(value)
            }
        return found

    @property
    def most_changed(self) -> tuple[ColumnDrift, ...]:
        """The columns: those that drifted, by their population stability index, then the others by their p value."""
        return tuple(
            sorted(self.columns, key=lambda one: (not one.drifted, 0 if one.drifted else one.p_adjusted, -one.psi))
        )

    def plot(self) -> Figure:
        """Draw how each column is spread, now and in the baseline, most changed first; at most twenty.

        Returns
        -------
        matplotlib Figure
        """
        return draw_columns(self)

    def plot_days(self) -> Figure:
        """Draw a heat map of the population stability index, a column by a day; at most the twenty most changed.

        Returns
        -------
        matplotlib Figure
        """
        return draw_days(self)

    def to_html(self) -> str:
        """The report as one page that needs no other file: what was found, the pictures, the figures."""
        figures = [(self.plot(), self.sentence)] if self.columns else []
        if self.days:
            figures.append((self.plot_days(), days_sentence(self)))
        pictures = "".join(as_image(figure, said) for figure, said in figures)
        return html_page(self.sentence, f'<div class="figures wide">{self._repr_html_(pictures)}</div>')

    def __str__(self) -> str:
        found = f"{self.sentence}: {', '.join(self.drifted)}" if self.drifted else self.sentence
        return f"{found}. {self._seen()}".rstrip()

    @property
    def sentence(self) -> str:
        """What was found, without the names of the columns."""
        if not self.rows_current:
            return f"No row yet to compare with the {self.rows_baseline:,} of the baseline"
        found = f"{len(self.drifted)} of {len(self.columns)} columns drifted" if self.drifted else self._none()
        return f"{found} ({self.rows_current:,} rows against {self.rows_baseline:,})"

    def _none(self) -> str:
        return f"No drift in {len(self.columns)} column{'s' if len(self.columns) > 1 else ''}"

    def _seen(self) -> str:
        """What the report would have found, and what it can't see."""
        if not self.rows_current:
            return ""
        shift = smallest_shift(self.rows_current, self.rows_baseline, len(self.columns))
        few = "With so few new rows only a large change shows. " if self.rows_current < _FEW_ROWS else ""
        return f"{few}A shift of {shift:.2g} standard deviations is found four times in five."

    def _repr_html_(self, pictures: str = "") -> str:
        rows = "".join(
            f"<tr><td><code>{escape(column.column)}</code></td><td>{column.kind}</td><td>{column.psi:.3f}</td>"
            f"<td>{column.p_adjusted:.2g}</td><td>{column.js_distance:.3f}</td><td>{_figure(column.ks)}</td><td>{_figure(column.wasserstein)}</td>"
            f"<td>{column.missing_current:.1%}</td><td>{column.missing_baseline:.1%}</td>"
            f"<td>{'<b>drifted</b>' if column.drifted else 'stable'}</td></tr>"
            for column in self.most_changed
        )
        said = escape(f"{self.sentence}{f': {self.source}' if self.source else ''}. {self._seen()}".rstrip())
        if not self.columns:
            return f"<p>{said}</p>"
        head = "".join(
            f"<th>{name}</th>"
            for name in (
                "column",
                "kind",
                "PSI",
                "p, adjusted",
                "Jensen-Shannon",
                "KS",
                "Wasserstein",
                "missing",
                "in the baseline",
                f"p 0.05, {self.thresholds}",
            )
        )
        return f"<p>{said}</p>{pictures}<table><tr>{head}</tr>{rows}</table>"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
