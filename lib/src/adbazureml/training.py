"""The walk's two models: a scikit-learn regression trained epoch by epoch, and a Spark ML pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from pyspark.ml import Pipeline


def sgd_pipeline(*, learning_rate: float) -> Any:
    """Return an untrained scikit-learn pipeline: standardise, then linear regression by stochastic gradient descent."""
    from sklearn.linear_model import SGDRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # warm_start lets each pass go on from the last one; one `fit` is one pass.
    descent = SGDRegressor(
        max_iter=1, tol=None, warm_start=True, learning_rate="constant", eta0=learning_rate, random_state=0
    )
    return make_pipeline(StandardScaler(), descent)


def train_epochs(pipeline: Any, features: pd.DataFrame, label: pd.Series, *, epochs: int) -> Iterator[np.float64]:
    """Train a pipeline of `sgd_pipeline`, one pass over the rows at a time.

    Parameters
    ----------
    features : pandas.DataFrame of shape (n_rows, n_features)
    label : pandas.Series of shape (n_rows,)
    epochs : int
        Number of passes.

    Yields
    ------
    numpy.float64
        Mean squared error on these rows after each pass. The last pass is a `fit` of the whole pipeline, which
        autologging sees, so the run's training metrics are those of the finished model.
    """
    import numpy as np

    scaler, descent = pipeline[0], pipeline[1]
    mean, scale = features.mean(), features.std(ddof=0)
    scaled = ((features - mean) / scale.replace(0, 1)).to_numpy()
    for _ in range(epochs - 1):
        descent.partial_fit(scaled, label)
        yield np.mean((descent.predict(scaled) - label.to_numpy()) ** 2)
    pipeline.fit(features, label)
    yield np.mean((descent.predict(scaler.transform(features)) - label.to_numpy()) ** 2)


def spark_pipeline(features: Sequence[str], label: str) -> Pipeline:
    """Return an untrained Spark ML pipeline: assemble the features, then linear regression."""
    from pyspark.ml import Pipeline
    from pyspark.ml.feature import VectorAssembler
    from pyspark.ml.regression import LinearRegression

    assemble = VectorAssembler(inputCols=list(features), outputCol="features", handleInvalid="keep")
    return Pipeline(stages=[assemble, LinearRegression(featuresCol="features", labelCol=label)])


def learning_curve(losses: Sequence[float]) -> Figure:
    """Draw the loss of each epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(len(losses)), losses, marker=".")
    axes.set(xlabel="epoch", ylabel="mean squared error", title="Learning curve", yscale="log")
    axes.grid(alpha=0.3)
    return figure
