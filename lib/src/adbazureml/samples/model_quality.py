"""How good a model is, in figures and in pictures that fit what it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adbazureml.runtime.colours import BLUE, SERIES
from adbazureml.samples.column_types import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_MOST_CURVES = 10


@dataclass(frozen=True)
class Quality:
    """A model's predictions beside what was to be predicted.

    Attributes
    ----------
    actual, predicted : array, shape (n_rows,)
    classes : tuple
        The classes in the order of the probabilities; empty for a regression.
    probabilities : array, shape (n_rows, n_classes), optional
        Of each class.
    """

    actual: NDArray[Any]
    predicted: NDArray[Any]
    classes: tuple[Any, ...] = ()
    probabilities: NDArray[np.float64] | None = None

    def log(self) -> None:
        """Log the metrics, with ``valid_`` before their names, and the pictures to the active MLflow run."""
        import mlflow

        mlflow.log_metrics({f"valid_{name}": value for name, value in self.metrics().items()})
        for name, picture in self.pictures().items():
            mlflow.log_figure(picture, name)

    def metrics(self) -> dict[str, float]:
        """Return mae, rmse and r2 of a regression; accuracy, log_loss and roc_auc of classes.

        The area under the ROC curve is that of the second of two classes, or the mean of each class against the rest;
        it is left out where the rows do not hold all classes.
        """
        from sklearn import metrics

        actual, predicted = self.actual, self.predicted
        if self.probabilities is None:
            return {
                "mae": float(metrics.mean_absolute_error(actual, predicted)),
                "rmse": float(metrics.mean_squared_error(actual, predicted) ** 0.5),
                "r2": float(metrics.r2_score(actual, predicted)),
            }
        return {
            "accuracy": float(metrics.accuracy_score(actual, predicted)),
            "log_loss": float(metrics.log_loss(actual, self.probabilities, labels=list(self.classes))),
        } | self._areas()

    def pictures(self) -> dict[str, Figure]:
        """Return pictures by the name of their file: residuals; or the confusion matrix and the ROC curves."""
        if self.probabilities is None:
            return {"residuals.png": _drawn(self._residuals)}
        return {"confusion_matrix.png": _drawn(self._confusion), "roc.png": _drawn(self._roc)}

    def _areas(self) -> dict[str, float]:
        from sklearn.metrics import roc_auc_score

        if set(self.actual.tolist()) != set(self.classes):
            return {}
        assert self.probabilities is not None
        areas = [roc_auc_score(self.actual == name, share) for name, share in self._curves(self.probabilities)]
        return {"roc_auc": float(np.mean(areas))}

    def _curves(self, probabilities: NDArray[np.float64]) -> list[tuple[Any, NDArray[np.float64]]]:
        """The classes told from the rest, each with its probabilities: of two classes the second one says it all."""
        shares = list(zip(self.classes, probabilities.T, strict=True))
        return shares[1:] if len(shares) == 2 else shares

    def _residuals(self, axes: Axes) -> None:
        axes.scatter(self.predicted, self.actual - self.predicted, s=12, alpha=0.6, color=BLUE)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(xlabel="prediction", ylabel="label - prediction", title="Residuals")

    def _confusion(self, axes: Axes) -> None:
        from sklearn.metrics import ConfusionMatrixDisplay

        few = len(self.classes) <= _MOST_CURVES
        ConfusionMatrixDisplay.from_predictions(
            self.actual,
            self.predicted,
            labels=list(self.classes),
            include_values=few,
            xticks_rotation="horizontal" if few else "vertical",
            cmap="Blues",
            colorbar=not few,
            ax=axes,
        )
        axes.set_title("Confusion matrix")

    def _roc(self, axes: Axes) -> None:
        from sklearn.metrics import roc_curve

        assert self.probabilities is not None
        there = [
            (name, share) for name, share in self._curves(self.probabilities) if 0 < np.mean(self.actual == name) < 1
        ]
        axes.set_prop_cycle(color=SERIES)
        for name, share in there[:_MOST_CURVES]:
            wrong, right, _ = roc_curve(self.actual == name, share)
            axes.plot(wrong, right, label=str(name))
        axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
        axes.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
        if there:
            axes.legend()


def learning_curve(losses: Sequence[float], *, task: Task) -> Figure:
    """Draw the loss of each epoch of `train_epochs`."""

    def draw(axes: Axes) -> None:
        axes.plot(range(len(losses)), losses, marker=".", color=BLUE)
        loss = "mean squared error" if task == "regression" else "log loss"
        axes.set(xlabel="epoch", ylabel=loss, title="Learning curve", yscale="log")
        axes.grid(alpha=0.3)

    return _drawn(draw)


def _drawn(draw: Any) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    draw(figure.subplots())
    return figure
