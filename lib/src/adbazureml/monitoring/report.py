"""What a comparison of two tables found, as a table, a picture and metrics."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# The stricter of what MLflow and Azure ML take in a metric's name; '/' would put a column into a group of its own.
_NOT_IN_METRIC_NAMES = re.compile(r"[^A-Za-z0-9_\-. ]")
_LONGEST_COLUMN = 200


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
    drifted : bool
        Whether `psi` reaches the threshold.
    """

    column: str
    kind: Literal["numeric", "categorical"]
    psi: float
    js_distance: float
    ks: float | None
    wasserstein: float | None
    missing_current: float
    missing_baseline: float
    drifted: bool


@dataclass(frozen=True)
class DriftReport:
    """How far new data has moved from its baseline.

    Attributes
    ----------
    columns : tuple of ColumnDrift
        One for each column, in the order asked for.
    threshold : float
        The population stability index from which a column counts as drifted.
    rows_current, rows_baseline : int
        Rows compared.
    """

    columns: tuple[ColumnDrift, ...]
    threshold: float
    rows_current: int
    rows_baseline: int

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the columns that drifted."""
        return tuple(column.column for column in self.columns if column.drifted)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each column, with the attributes of `ColumnDrift`."""
        import pandas as pd

        return pd.DataFrame([asdict(column) for column in self.columns])

    def metrics(self) -> dict[str, float]:
        """The figures as metrics for ``mlflow.log_metrics``, with names that MLflow and Azure ML both take.

        Returns
        -------
        dict of str to float
            ``drift_columns`` and ``drift_share`` (columns that drifted, and their share), then for each column
            ``drift_psi/<column>``, ``drift_js/<column>``, ``drift_missing/<column>`` and, for numbers,
            ``drift_ks/<column>`` and ``drift_wasserstein/<column>``. Characters that the names may not hold become
            ``_``; a figure that is not finite is left out.
        """
        found: dict[str, float] = {
            "drift_columns": float(len(self.drifted)),
            "drift_share": len(self.drifted) / len(self.columns),
        }
        for name, column in zip(_metric_names([column.column for column in self.columns]), self.columns, strict=True):
            figures = {
                "psi": column.psi,
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

    def plot(self) -> Figure:
        """Draw each column's population stability index against the threshold, the largest on top.

        Returns
        -------
        matplotlib Figure
        """
        from matplotlib import pyplot

        ordered = sorted(self.columns, key=lambda column: column.psi)
        figure, axes = pyplot.subplots(figsize=(7, 1.2 + 0.28 * len(ordered)), layout="constrained")
        # A figure that pyplot still holds would be shown twice by a notebook.
        pyplot.close(figure)
        colours = ["#d13438" if column.drifted else "#0078d4" for column in ordered]
        places = range(len(ordered))
        bars = axes.barh(places, [column.psi for column in ordered], color=colours)
        # A '$' would start a formula.
        axes.set_yticks(places, [column.column.replace("$", r"\$") for column in ordered])
        axes.bar_label(bars, [f"{column.psi:.3f}" for column in ordered], padding=3)
        axes.axvline(self.threshold, color="#605e5c", linestyle="--")
        axes.margins(x=0.12)
        axes.set_xlabel(f"population stability index (dashed: threshold {self.threshold:g})")
        axes.set_title(self._sentence())
        axes.spines[["top", "right"]].set_visible(False)
        return figure

    def _sentence(self) -> str:
        return (
            f"{len(self.drifted)} of {len(self.columns)} columns drifted "
            f"({self.rows_current:,} rows against {self.rows_baseline:,})"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td><code>{escape(column.column)}</code></td><td>{column.kind}</td><td>{column.psi:.3f}</td>"
            f"<td>{column.js_distance:.3f}</td><td>{_figure(column.ks)}</td><td>{_figure(column.wasserstein)}</td>"
            f"<td>{column.missing_current:.1%}</td><td>{column.missing_baseline:.1%}</td>"
            f"<td>{'<b>drifted</b>' if column.drifted else 'stable'}</td></tr>"
            for column in self.columns
        )
        head = "".join(
            f"<th>{name}</th>"
            for name in (
                "column",
                "kind",
                "PSI",
                "Jensen-Shannon",
                "KS",
                "Wasserstein",
                "missing",
                "in the baseline",
                f"PSI &ge; {self.threshold:g}",
            )
        )
        return f"<p>{self._sentence()}</p><table><tr>{head}</tr>{rows}</table>"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _metric_names(columns: list[str]) -> list[str]:
    """A name for each column that MLflow and Azure ML take, no two alike."""
    names: list[str] = []
    for column in columns:
        # MLflow reads a name as a path: one of dots alone would lead out of its group.
        cleaned = _NOT_IN_METRIC_NAMES.sub("_", column)[:_LONGEST_COLUMN]
        cleaned = cleaned if cleaned.strip(".") else "_" * len(cleaned)
        name, number = cleaned, 2
        while name.lower() in {other.lower() for other in names}:
            name, number = f"{cleaned}_{number}", number + 1
        names.append(name)
    return names
