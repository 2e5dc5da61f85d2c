"""Whether a new version may take the place of the one in use, and why: to read, to look at, to fail a job with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from adbazureml.errors import ValidationFailedError
from adbazureml.registry.version_tags import MODEL
from adbazureml.runtime.colours import BLUE, DARK_GREY, GREY, VERMILION
from adbazureml.text import TEXT_TABLE
from adbazureml.tracking.run_description import tell_outcome

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adbazureml.registry import RegisteredVersion
    from adbazureml.validation.answers import Answers
    from adbazureml.validation.metrics import Task
    from adbazureml.workspaces import AzureMLWorkspace

Mode = Literal["enabled", "dry_run", "disabled"]

ALL_ROWS = "all rows"
# The check of the loss on all rows.
AGAINST = "against the champion"
_POINTS = 200
_COLOURS = {"new version": BLUE, "champion": DARK_GREY}


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
class Comparison:
    """The loss of both on the same rows: on all of them, or on a slice.

    Attributes
    ----------
    part : str
        "all rows", or such as "sex = 1".
    rows : int
    losses : tuple of (float, float or None)
        The mean loss of the challenger and of the champion.
    difference : tuple of (float, float) or None
        Interval of the challenger's loss less the champion's: below 0 it is better.
    confidence : float
        Percent of the interval.
    """

    part: str
    rows: int
    losses: tuple[float, float | None]
    difference: tuple[float, float] | None
    confidence: float

    def worse(self, tolerance: float) -> bool:
        """Whether the challenger is worse beyond chance, and by more than a share of the champion's loss."""
        ours, theirs = self.losses
        if self.difference is None or theirs is None:
            return False
        return self.difference[0] > 0 and ours - theirs > tolerance * abs(theirs)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What of a model's answers is drawn: a ROC curve, or how its errors are spread.

    Attributes
    ----------
    of : str
        "new version" or "champion".
    kind : {"ROC", "residuals"} or None
        None where there is nothing to draw, as of classes without probabilities.
    x, y : tuple of float
    """

    of: str
    kind: Literal["ROC", "residuals"] | None
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a version may take the place of the one in use.

    Attributes
    ----------
    challenger : str
        ``models:/`` URI of the new version.
    champion : str or None
        ``models:/`` URI of the one in use; None where there is none yet.
    loss : str
        What is compared: the mean absolute error, the share of wrong answers, or the name of a function.
    mode : {"enabled", "dry_run", "disabled"}
    rows : int
        Rows on which both were compared.
    population : int
        Rows of the table or Spark frame from which these were drawn at random.
    comparisons : tuple of Comparison
        On all rows, then on each slice; empty where the challenger does not answer.
    metrics : mapping of str to (float, float or None)
        Metrics of both, by the names that MLflow's evaluation has for them.
    checks : tuple of Check
    curves : tuple of Curve
    """

    challenger: str
    champion: str | None
    loss: str
    mode: Mode = "enabled"
    rows: int = 0
    population: int = 0
    comparisons: tuple[Comparison, ...] = ()
    metrics: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    curves: tuple[Curve, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether each check did."""
        return all(check.passed for check in self.checks)

    @property
    def blocks(self) -> bool:
        """Whether the champion must stay: a check failed, and this is no dry run."""
        return self.mode == "enabled" and not self.passed

    @property
    def difference(self) -> tuple[float, float] | None:
        """95 % interval of the challenger's loss less the champion's on all rows; None without a champion."""
        return self.comparisons[0].difference if self.comparisons else None

    @property
    def replaces(self) -> str:
        """Number of the champion that it was compared with, as `promote` takes it; empty where there was none."""
        return self.champion.rpartition("/")[2] if self.champion else ""

    def check(self) -> None:
        """Fail where a check did, as a job's task should that guards what is in use; a dry run never does.

        Raises
        ------
        ValidationFailedError
            Names each check that failed.
        """
        if self.blocks:
            raise ValidationFailedError(str(self))

    def log(self) -> None:
        """Log the verdict to the active MLflow run: metrics of both, the pictures, the table, its sentence.

        The challenger's metrics are those of its logged model too, whose page in Unity Catalog shows them.
        """
        import mlflow

        mlflow.log_param("validated", self.challenger)
        mlflow.log_param("validated_against", self.champion or "none")
        mlflow.log_metrics(
            {f"challenger_{name}": ours for name, (ours, _) in self.metrics.items()}, model_id=self._model_id()
        )
        mlflow.log_metrics(
            {f"champion_{name}": theirs for name, (_, theirs) in self.metrics.items() if theirs is not None}
        )
        mlflow.set_tag("validation", self.state)
        tell_outcome("validate", str(self))
        mlflow.log_text(self._repr_html_(), "validation.html")
        mlflow.log_figure(self.plot(), "validation.png")

    def write_to(self, version: RegisteredVersion, *, workspace: AzureMLWorkspace | None = None) -> None:
        """Write the verdict to the version, in each registry that holds it: a tag a check, and into the description.

        Written again, it takes the place of the one before. Within an active MLflow run, it leads to that run.

        Parameters
        ----------
        version : RegisteredVersion
            What `register` returned.
        workspace : AzureMLWorkspace, optional
            Needed where Azure ML holds the version.

        Raises
        ------
        RegistryError
            A registry refused.
        """
        from adbazureml.validation.version_words import write_verdict

        write_verdict(self, version, workspace)

    @property
    def state(self) -> str:
        """Passed, failed or disabled; in one word or two."""
        if self.mode == "disabled":
            return "disabled"
        return ("passed" if self.passed else "failed") + (" (dry run)" if self.mode == "dry_run" else "")

    def plot(self) -> Figure:
        """Draw the interval of the difference, of all rows and each slice, and the ROC curves or errors of both.

        Returns
        -------
        matplotlib Figure
        """
        from matplotlib.figure import Figure

        drawn = [curve for curve in self.curves if curve.kind]
        height = 1.6 + 0.35 * max(1, len(self.comparisons))
        figure = Figure(figsize=(11 if drawn else 7, max(height, 3 if drawn else 0)), layout="constrained")
        axes = figure.subplots(1, 2 if drawn else 1, squeeze=False)[0]
        self._draw_differences(axes[0])
        if drawn:
            _draw_curves(axes[1], drawn)
        figure.suptitle(self._sentence(), fontsize=10)
        return figure

    def _draw_differences(self, axes: Axes) -> None:
        axes.spines[["top", "right", "left"]].set_visible(False)
        if self.difference is None:
            losses = {one.part: one.losses[0] for one in self.comparisons}
            axes.barh(list(losses), list(losses.values()), height=0.4, color=BLUE)
            axes.set_xlabel(f"{self.loss}; there is no champion to compare with")
        for place, one in enumerate(self.comparisons):
            if one.difference is None or one.losses[1] is None:
                continue
            low, high = one.difference
            colour = BLUE if high < 0 else VERMILION if low > 0 else GREY
            axes.plot([low, high], [place, place], color=colour, linewidth=4, solid_capstyle="butt")
            axes.plot([one.losses[0] - one.losses[1]], [place], "o", color=colour)
        if self.difference is not None:
            axes.axvline(0, color="black", linewidth=0.8, linestyle="--")
            axes.set_xlabel(f"{self.loss}: new version less champion (left of 0: better)")
            axes.set_yticks(range(len(self.comparisons)), [f"{one.part} ({one.rows:,})" for one in self.comparisons])
        axes.set_ylim(len(self.comparisons) or 1, -1)

    def __str__(self) -> str:
        # Of one that passed: by how much it is better, or that it is no worse.
        told = "; ".join(one.said for one in self.checks if (one.name == AGAINST if self.passed else not one.passed))
        return f"{self._sentence()}{f': {told}' if told else ''}."

    def _sentence(self) -> str:
        challenger, champion = self.challenger.removeprefix("models:/"), self.replaces
        if self.mode == "disabled":
            return f"{challenger} was not validated, as validation is disabled"
        if self.passed:
            place = f"may take the place of version {champion}" if champion else "may be the first champion"
            return f"{challenger} {place}"
        if self.mode == "dry_run":
            return f"{challenger} would fail; this is a dry run"
        return f"{challenger} fails" + (f", version {champion} stays" if champion else "")

    def _model_id(self) -> str | None:
        """Id of the challenger's logged model, where this tracking store has it."""
        import mlflow
        from mlflow.exceptions import MlflowException

        name, _, number = self.challenger.removeprefix("models:/").rpartition("/")
        client = mlflow.MlflowClient()
        try:
            version = client.get_model_version(name, number)
            return str(client.get_logged_model(version.tags.get(MODEL) or version.model_id or "").model_id)
        except MlflowException:
            # Made of a run's files, or logged in another store.
            return None

    def _repr_html_(self) -> str:
        figures = "".join(
            f"<tr><td>{escape(name)}</td><td>{ours:.4g}</td><td>{'' if theirs is None else f'{theirs:.4g}'}</td></tr>"
            for name, (ours, theirs) in self.metrics.items()
        )
        checks = "".join(
            f"<tr><td>{escape(check.name)}</td><td>{'passed' if check.passed else '<b>failed</b>'}</td>"
            f"<td>{escape(check.said)}</td></tr>"
            for check in self.checks
        )
        drawn = f", drawn of {self.population:,}" if self.population > self.rows else ""
        rows = f"{self.rows:,} rows{drawn}"
        return (
            f"<p>{escape(str(self))}</p>"
            f"{TEXT_TABLE}<tr><th>{rows}</th><th>new version</th><th>champion</th></tr>{figures}</table>"
            f"{TEXT_TABLE}<tr><th>check</th><th></th><th></th></tr>{checks}</table>"
        )


def curve_of(labels: pd.Series[Any], answers: Answers, task: Task, *, of: str) -> Curve:
    """The ROC curve of a classifier with probabilities of two classes, or how a regression's errors are spread."""
    from adbazureml.validation.metrics import as_text

    if task == "regression":
        shares = np.linspace(0.01, 0.99, 99)
        errors = answers.values.astype(np.float64) - labels.to_numpy().astype(np.float64)
        return Curve(of=of, kind="residuals", x=tuple(np.quantile(errors, shares).tolist()), y=tuple(shares.tolist()))
    if answers.probabilities is None or answers.probabilities.shape[1] != 2:
        return Curve(of=of, kind=None, x=(), y=())
    from sklearn.metrics import roc_curve

    is_it = as_text(labels) == as_text(answers.classes)[1]
    false, true, _ = roc_curve(is_it, answers.probabilities[:, 1])
    some = np.unique(np.linspace(0, len(false) - 1, _POINTS).astype(int))
    return Curve(of=of, kind="ROC", x=tuple(false[some].tolist()), y=tuple(true[some].tolist()))


def _draw_curves(axes: Axes, curves: list[Curve]) -> None:
    for curve in curves:
        axes.plot(curve.x, curve.y, label=curve.of, color=_COLOURS[curve.of])
    if curves[0].kind == "ROC":
        axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle="--")
        axes.set(xlabel="share of false alarms", ylabel="share found")
    else:
        axes.axvline(0, color="black", linewidth=0.8, linestyle="--")
        axes.set(xlabel="answer less label", ylabel="share of rows up to it")
    axes.legend(frameon=False)
