"""The quality of predictions, as a sentence, a table, a picture and metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from adbazureml.errors import DriftError
from adbazureml.monitoring.drift_pictures import ON_WHITE, own_style, plain
from adbazureml.monitoring.labelled_rows import Task
from adbazureml.monitoring.metric_names import metric_names
from adbazureml.monitoring.sequential_test import FALSE_ALARMS, FEWEST_ROWS, Losses
from adbazureml.runtime.colours import SERIES
from adbazureml.text import html_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_CONFIDENCE = 0.95
_MOST_DAYS_NAMED = 14
_MARKERS = "os^Dv*"


@dataclass(frozen=True, kw_only=True)
class DayQuality:
    """The losses of some rows of a version: of a day or a slice.

    Attributes
    ----------
    part : str
        The day, or such as "sex = 1".
    losses : Losses
    fourths : float
        Sum of the fourth powers of the losses.
    """

    part: str
    losses: Losses
    fourths: float

    def __add__(self, other: DayQuality) -> DayQuality:
        return DayQuality(part="", losses=self.losses + other.losses, fourths=self.fourths + other.fourths)

    def metrics(self, task: Task) -> dict[str, tuple[float, float, float]]:
        """By the names that scikit-learn has for them: each metric with the ends of its 95 % interval.

        References
        ----------
        Wilson, E. B. (1927), Probable inference, the law of succession, and statistical inference, Journal of the
        American Statistical Association 22(158): that of the accuracy. The others are Student's, of the mean of the
        absolute or squared errors.
        """
        if task == "classification":
            return {"accuracy_score": _wilson(self.losses.rows - self.losses.total, self.losses.rows)}
        squared = _student(Losses(self.losses.rows, self.losses.squares, self.fourths))
        return {
            "mean_absolute_error": _student(self.losses),
            "root_mean_squared_error": (
                math.sqrt(squared[0]),
                math.sqrt(max(squared[1], 0.0)),
                math.sqrt(max(squared[2], 0.0)),
            ),
        }


@dataclass(frozen=True, kw_only=True)
class VersionQuality:
    """The quality of one version.

    Attributes
    ----------
    version : str
        Such as "prices/3"; empty where the predictions don't say.
    days, slices : tuple of DayQuality
    training : Losses or None
        What it is compared with.
    fallen_since : str or None
        The day from which on its quality is proven to be furthest below that at training.
    """

    version: str
    days: tuple[DayQuality, ...]
    slices: tuple[DayQuality, ...]
    training: Losses | None
    fallen_since: str | None

    @property
    def whole(self) -> DayQuality:
        """All of its days."""
        return sum(self.days, start=DayQuality(part="", losses=Losses(0, 0.0, 0.0), fourths=0.0))


@dataclass(frozen=True, kw_only=True)
class QualityReport:
    """How good predictions are, as far as their labels have come.

    Attributes
    ----------
    task : "regression" or "classification"
    versions : tuple of VersionQuality
        Empty where no label has come yet.
    """

    task: Task
    versions: tuple[VersionQuality, ...]

    @property
    def fallen(self) -> tuple[str, ...]:
        """Versions whose quality has fallen."""
        return tuple(one.version for one in self.versions if one.fallen_since is not None)

    def __str__(self) -> str:
        return " ".join(self._said(one) for one in self.versions) or "No label has come yet for any prediction."

    def _said(self, one: VersionQuality) -> str:
        name = f"{one.version}: " if one.version else ""
        metric, (value, low, high) = next(iter(one.whole.metrics(self.task).items()))
        seen = f"{metric} {value:.3g} [{low:.3g}, {high:.3g}] in {one.whole.losses.rows:,} labelled rows"
        if one.training is None:
            return f"{name}{seen}; nothing from training to compare with."
        before = 1 - one.training.mean if self.task == "classification" else one.training.mean
        against = f"{seen}, {before:.3g} at training"
        if one.fallen_since is not None:
            since = f" since {one.fallen_since}" if one.fallen_since else ""
            return f"{name}quality has fallen{since}: {against}."
        if one.whole.losses.rows < FEWEST_ROWS:
            return f"{name}too few labels to tell, {FEWEST_ROWS} are needed: {against}."
        return f"{name}no fall of quality is proven: {against}."

    def to_pandas(self) -> pd.DataFrame:
        """A row for each version, its days and its slices: rows, and each metric with the ends of its interval."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"version": one.version, "part": part.part or "all", "rows": part.losses.rows}
                | {
                    f"{metric}{end}": value
                    for metric, values in part.metrics(self.task).items()
                    for end, value in zip(("", "_low", "_high"), values, strict=True)
                }
                for one in self.versions
                for part in (one.whole, *one.days, *one.slices)
            ]
        )

    def metrics(self) -> dict[str, float]:
        """Metrics of each version over all days, with names that MLflow and Azure ML both take.

        Returns
        -------
        dict of str to float
            ``quality_fallen`` (versions whose quality has fallen) and for each version ``quality_rows/<version>`` and
            ``quality_<metric>/<version>``.
        """
        found = {"quality_fallen": float(len(self.fallen))}
        for name, one in self._named():
            found[f"quality_rows/{name}"] = float(one.whole.losses.rows)
            found |= {f"quality_{metric}/{name}": value for metric, (value, *_) in one.whole.metrics(self.task).items()}
        return found

    def _named(self) -> list[tuple[str, VersionQuality]]:
        names = metric_names([one.version or "all" for one in self.versions])
        return list(zip(names, self.versions, strict=True))

    def log(self) -> None:
        """Log it to the active MLflow run: `metrics`, the same by day, the picture, the table."""
        import mlflow

        mlflow.log_metrics(self.metrics())
        for name, one in self._named():
            for step, day in enumerate(one.days):
                found = day.metrics(self.task).items()
                mlflow.log_metrics({f"quality_{metric}_of_day/{name}": value for metric, (value, *_) in found}, step)
        mlflow.log_text(self.to_pandas().to_csv(index=False), "quality.csv")
        if self.versions:
            mlflow.log_figure(self.plot(), "quality.png", save_kwargs={**ON_WHITE})

    def check(self) -> None:
        """Fail where quality has fallen, as a job's task should that guards a model.

        Raises
        ------
        DriftError
            Says of which version, since when.
        """
        if self.fallen:
            raise DriftError(f"{self} Look at the days and slices, then train anew.")

    def plot(self) -> Figure:
        """Draw the error by day with its interval, a line a version, and that at training.

        Returns
        -------
        matplotlib Figure
        """
        from matplotlib.figure import Figure

        days = sorted({day.part for one in self.versions for day in one.days})
        with own_style():
            figure = Figure(figsize=(min(12.0, 6 + 0.2 * len(days)), 3.6), layout="constrained")
            axes = figure.subplots()
            for number, one in enumerate(self.versions):
                colour = SERIES[number % len(SERIES)]
                drawn = [next(iter(day.metrics(self.task).values())) for day in one.days]
                places = [days.index(day.part) for day in one.days]
                gaps = [[value - low for value, low, _ in drawn], [high - value for value, _, high in drawn]]
                values = [value for value, *_ in drawn]
                axes.errorbar(
                    places,
                    values,
                    yerr=gaps,
                    fmt=f"{_MARKERS[number % len(_MARKERS)]}-",
                    color=colour,
                    capsize=2,
                    label=plain(one.version),
                )
                if one.training is not None:
                    before = 1 - one.training.mean if self.task == "classification" else one.training.mean
                    axes.axhline(before, color=colour, linestyle="--", linewidth=1)
            step = math.ceil(len(days) / _MOST_DAYS_NAMED) or 1
            ticks = range(0, len(days), step)
            axes.set_xticks(ticks, [plain(days[i]) for i in ticks], rotation=30, ha="right", rotation_mode="anchor")
            axes.set_ylabel("accuracy" if self.task == "classification" else "mean absolute error")
            axes.set_xlabel("dashed: at training; bars: 95 % intervals", fontsize=8)
            title = f"Quality has fallen: {', '.join(self.fallen)}" if any(self.fallen) else self._headline()
            axes.set_title(plain(title), fontsize=10, loc="left")
            if any(one.version for one in self.versions):
                axes.legend(frameon=False, fontsize=8)
            axes.spines[["top", "right"]].set_visible(False)
        return figure

    def _headline(self) -> str:
        return "Quality has fallen" if self.fallen else "No fall of quality is proven"

    def _repr_html_(self) -> str:
        table = self.to_pandas()
        cells = [
            [value if isinstance(value, str) else f"{value:,.4g}" for value in row]
            for row in table.itertuples(index=False)
        ]
        chance = f"A fall that is none is told of in at most {FALSE_ALARMS:.0%} of all models, however often one looks."
        return f"<p>{escape(str(self))} {chance}</p>{html_table(cells, titles=[*map(str, table.columns)])}"


def _student(losses: Losses) -> tuple[float, float, float]:
    from scipy.stats import t

    if losses.rows < 2:
        return losses.mean, math.nan, math.nan
    half = float(t.isf((1 - _CONFIDENCE) / 2, losses.rows - 1)) * losses.deviation / math.sqrt(losses.rows)
    return losses.mean, losses.mean - half, losses.mean + half


def _wilson(right: float, rows: int) -> tuple[float, float, float]:
    from scipy.stats import binomtest

    found = binomtest(round(right), rows).proportion_ci(_CONFIDENCE, method="wilson")
    return right / rows, float(found.low), float(found.high)
