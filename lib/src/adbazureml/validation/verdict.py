"""Whether a new version may take the place of the one in use, and why: to read, to look at, to fail a job with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from adbazureml.errors import ValidationFailedError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
    passed : bool
    said : str
        What was found, in a sentence.
    """

    name: str
    passed: bool
    said: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a version may take the place of the one in use.

    Attributes
    ----------
    challenger : str
        ``models:/`` URI of the new version.
    champion : str or None
        ``models:/`` URI of the one in use; None where there is none yet.
    rows : int
        Rows on which both were compared.
    loss : str
        What `difference` is of: the mean absolute error, or the share of wrong answers.
    losses : tuple of (float, float or None)
        That of the challenger and of the champion.
    difference : tuple of (float, float) or None
        95 % interval of the challenger's loss less the champion's: below 0 it is better.
    metrics : mapping of str to (float, float or None)
        Metrics of both, by the names that MLflow's evaluation has for them.
    checks : tuple of Check
    """

    challenger: str
    champion: str | None
    rows: int
    loss: str
    losses: tuple[float, float | None]
    difference: tuple[float, float] | None
    metrics: Mapping[str, tuple[float, float | None]]
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether each check did."""
        return all(check.passed for check in self.checks)

    @property
    def replaces(self) -> str:
        """Number of the champion that it was compared with, as `promote` takes it; empty where there was none."""
        return self.champion.rpartition("/")[2] if self.champion else ""

    def check(self) -> None:
        """Fail where a check did, as a job's task should that guards what is in use.

        Raises
        ------
        ValidationFailedError
            Names each check that failed.
        """
        if not self.passed:
            raise ValidationFailedError(str(self))

    def log(self) -> None:
        """Log the verdict to the active MLflow run: metrics of both, the picture, the table."""
        import mlflow

        mlflow.log_metrics({f"challenger_{name}": ours for name, (ours, _) in self.metrics.items()})
        mlflow.log_metrics(
            {f"champion_{name}": theirs for name, (_, theirs) in self.metrics.items() if theirs is not None}
        )
        mlflow.log_param("validated", self.challenger)
        mlflow.log_param("validated_against", self.champion or "none")
        mlflow.set_tag("validation", "passed" if self.passed else "failed")
        mlflow.log_text(self._repr_html_(), "validation.html")
        mlflow.log_figure(self.plot(), "validation.png")

    def plot(self) -> Figure:
        """Draw the interval of the difference against none, and what of it is tolerated.

        Returns
        -------
        matplotlib Figure
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 1.8), layout="constrained")
        axes = figure.subplots()
        if self.difference is None:
            axes.barh([0], [self.losses[0]], color="#0078d4", height=0.4)
            axes.set_xlabel(f"{self.loss}; there is no champion to compare with")
        else:
            middle = self.losses[0] - (self.losses[1] or 0.0)
            low, high = self.difference
            colour = "#107c10" if high < 0 else "#d13438" if low > 0 else "#605e5c"
            axes.plot([low, high], [0, 0], color=colour, linewidth=4, solid_capstyle="butt")
            axes.plot([middle], [0], "o", color=colour)
            axes.axvline(0, color="black", linewidth=0.8, linestyle="--")
            axes.set_xlabel(f"{self.loss}: new version less champion, 95 % interval (left of 0: better)")
        axes.set_yticks([])
        axes.set_ylim(-1, 1)
        axes.set_title(self._sentence(), fontsize=10)
        axes.spines[["top", "right", "left"]].set_visible(False)
        return figure

    def __str__(self) -> str:
        failed = "; ".join(check.said for check in self.checks if not check.passed)
        return f"{self._sentence()}{f': {failed}' if failed else ''}."

    def _sentence(self) -> str:
        challenger, champion = self.challenger.removeprefix("models:/"), self.replaces
        if self.passed:
            place = f"may take the place of version {champion}" if champion else "may be the first champion"
            return f"{challenger} {place}"
        return f"{challenger} fails" + (f", version {champion} stays" if champion else "")

    def _repr_html_(self) -> str:
        figures = "".join(
            f"<tr><td>{name}</td><td>{ours:.4g}</td><td>{'' if theirs is None else f'{theirs:.4g}'}</td></tr>"
            for name, (ours, theirs) in self.metrics.items()
        )
        checks = "".join(
            f"<tr><td>{escape(check.name)}</td><td>{'passed' if check.passed else '<b>failed</b>'}</td>"
            f"<td>{escape(check.said)}</td></tr>"
            for check in self.checks
        )
        return (
            f"<p>{escape(str(self))}</p>"
            f"<table><tr><th>{self.rows:,} rows</th><th>new version</th><th>champion</th></tr>{figures}</table>"
            f"<table><tr><th>check</th><th></th><th></th></tr>{checks}</table>"
        )
