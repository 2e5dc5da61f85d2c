"""Pictures of a drift report: both distributions of each column, and a heat map over the days."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from adbazureml.monitoring.histogram import Histogram, shortened
from adbazureml.monitoring.significance import LEVEL
from adbazureml.runtime.colours import BLUE, GREY, LIGHT_GREY, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adbazureml.monitoring.drift_report import ColumnDrift, DriftReport

# Those of more columns are read in the table.
MOST_PICTURES = 20
_A_LINE = 4
_MOST_CATEGORIES = 8
_MOST_TICKS = 5
_MOST_DAYS_NAMED = 14
_BASELINE, _STABLE, _DRIFTED, _CHANCE = GREY, BLUE, VERMILION, LIGHT_GREY
# Where a dark style is on, saving would paint black behind what is drawn in black.
ON_WHITE: Mapping[str, Any] = {"facecolor": "white"}
# From here on a shift is marked by the usual rule of thumb; the colours end, so that two reports are comparable.
_DEEPEST = 0.25


@contextmanager
def own_style() -> Iterator[None]:
    """Dark on white in every surrounding: a notebook's dark style would leave grey on grey."""
    from matplotlib import style

    with style.context("default"):
        yield


def draw_columns(report: DriftReport) -> Figure:
    """Draw how each column's rows are spread, now and in the baseline, in the same bins; most changed first."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    shown = report.most_changed[:MOST_PICTURES]
    of_column = {one.binned.label: one for one in report.histograms}
    lines = max(1, math.ceil(len(shown) / _A_LINE))
    with own_style():
        figure = Figure(figsize=(3.2 * min(_A_LINE, max(2, len(shown))), 1.1 + 2.35 * lines), layout="constrained")
        grid = figure.subplots(lines, min(_A_LINE, max(2, len(shown))), squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place < len(shown):
                _draw_column(axes, shown[place], of_column[shown[place].column], first=place % _A_LINE == 0)
            else:
                axes.set_axis_off()
        left = len(report.columns) - len(shown)
        title = plain(str(report) if len(str(report)) <= 80 * min(_A_LINE, len(shown)) else report.sentence)
        figure.suptitle(f"{title}\n{left} more columns are in the table" if left else title, fontsize=10)
        figure.legend(
            handles=[
                Patch(color=_BASELINE, label=f"baseline, {report.rows_baseline:,} rows"),
                Patch(color=_STABLE, label=f"new, {report.rows_current:,} rows"),
                *([Patch(color=_DRIFTED, label="new, drifted")] if report.drifted else []),
            ],
            loc="outside lower center",
            ncols=3,
            frameon=False,
            fontsize=8,
        )
    return figure


def _draw_column(axes: Axes, column: ColumnDrift, histogram: Histogram, *, first: bool) -> None:
    labels, (now, before) = bars_of(histogram)
    places = np.arange(len(labels))
    axes.bar(places - 0.21, before * 100, width=0.42, color=_BASELINE)
    axes.bar(places + 0.21, now * 100, width=0.42, color=_DRIFTED if column.drifted else _STABLE)
    numeric = column.kind == "numeric"
    if numeric:
        ticks = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), _MOST_TICKS)).round().astype(int))
    else:
        ticks = places
    axes.set_xticks(ticks, [plain(labels[i]) for i in ticks], rotation=30, ha="right", rotation_mode="anchor")
    axes.tick_params(labelsize=7)
    if first:
        axes.set_ylabel("% of the rows", fontsize=8)
    said = f"drifted\n{histogram.finding()}" if column.drifted else "stable\n"
    axes.set_title(
        plain(f"{shortened(column.column)}: {said}".rstrip("\n")),
        fontsize=8,
        loc="left",
        fontweight="bold" if column.drifted else "normal",
    )
    axes.text(
        0.99,
        0.97,
        f"PSI {column.psi:.2f}, p {column.p_adjusted:.1g}",
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=7,
    )
    # Room for the figures above the bars.
    axes.margins(y=0.22)
    axes.spines[["top", "right"]].set_visible(False)


def bars_of(histogram: Histogram) -> tuple[list[str], np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """What is drawn of a column: labels, and shares now and in the baseline; without bins that both sides leave empty.

    Of many categories those with the largest shares are drawn, the most changed one always, and the others as one.
    """
    labels, shares = list(histogram.labels), histogram.shares()
    largest = shares.max(axis=0)
    used = np.flatnonzero(largest)
    listed = used[used < len(labels) - 2]
    if histogram.binned.kind == "numeric" or len(listed) <= _MOST_CATEGORIES:
        return [labels[i] for i in used], shares[:, used]
    # The most changed one before all others.
    largest[histogram.most_changed] = 2
    drawn = sorted(
        listed[np.argsort(-largest[listed], kind="stable")][:_MOST_CATEGORIES].tolist(), key=lambda i: -shares[1, i]
    )
    joined = [i for i in listed if i not in drawn]
    rest = [i for i in used if i >= len(labels) - 2]
    return (
        [*(labels[i] for i in drawn), f"{len(joined)} more", *(labels[i] for i in rest)],
        np.concatenate([shares[:, drawn], shares[:, joined].sum(axis=1, keepdims=True), shares[:, rest]], axis=1),
    )


def draw_days(report: DriftReport) -> Figure:
    """Draw the population stability index of each column on each day; a dot where it drifted, most changed first."""
    from matplotlib.figure import Figure

    names = [column.column for column in report.most_changed[:MOST_PICTURES]]
    days = [{column.column: column for column in day.columns} for day in report.days]
    # An index that chance explains says nothing: of few rows and many categories it is always large.
    values = np.array([[day[name].psi if day[name].p_adjusted <= LEVEL else np.nan for day in days] for name in names])
    with own_style():
        width = min(12.0, 7 + 0.25 * len(days))
        figure = Figure(figsize=(width, 1.8 + 0.28 * len(names)), layout="constrained")
        axes = figure.subplots()
        axes.set_facecolor(_CHANCE)
        mesh = axes.imshow(values, aspect="auto", cmap="Blues", vmin=0, vmax=_DEEPEST)
        for row, name in enumerate(names):
            for at, day in enumerate(days):
                if day[name].drifted:
                    axes.plot(at, row, "o", color="black" if values[row, at] < _DEEPEST / 2 else "white", markersize=4)
        axes.set_yticks(range(len(names)), [plain(shortened(name)) for name in names], fontsize=8)
        ticks = np.unique(np.linspace(0, len(days) - 1, min(len(days), _MOST_DAYS_NAMED)).round().astype(int))
        named = [plain(report.days[i].day) for i in ticks]
        axes.set_xticks(ticks, named, rotation=30, ha="right", rotation_mode="anchor", fontsize=8)
        bar = figure.colorbar(mesh, ax=axes, extend="max")
        bar.set_label("population stability index; grey: no more than chance", fontsize=8)
        axes.set_title(plain(days_sentence(report)), fontsize=10, loc="left")
    return figure


def days_sentence(report: DriftReport) -> str:
    """On how many days something drifted, and on which most did."""
    with_drift = [day for day in report.days if day.drifted]
    if not with_drift:
        return f"No column drifted on any of {len(report.days)} days"
    worst = max(with_drift, key=lambda day: len(day.drifted))
    columns = len(worst.drifted)
    return (
        f"Drift on {len(with_drift)} of {len(report.days)} days (dots), most on {worst.day}: "
        f"{columns} column{'s' if columns > 1 else ''}"
    )


def plain(text: str) -> str:
    """A text that matplotlib takes as it is: a ``$`` would start a formula."""
    return text.replace("$", r"\$")


def as_image(figure: Figure, said: str) -> str:
    """A picture as an HTML element that needs no other file; `said` is for readers who can't see it."""
    from base64 import b64encode
    from html import escape
    from io import BytesIO

    held = BytesIO()
    figure.savefig(held, format="png", dpi=110, **ON_WHITE)
    return f'<img alt="{escape(said)}" src="data:image/png;base64,{b64encode(held.getvalue()).decode()}">'
