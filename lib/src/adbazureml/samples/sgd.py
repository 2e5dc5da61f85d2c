"""A scikit-learn model that is trained epoch by epoch: linear, by stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from adbazureml.samples.model_quality import Quality

if TYPE_CHECKING:
    import pandas as pd

    from adbazureml.samples.training_table import TrainingTable

# The levels of a text column that get a weight each; the rarest ones share one.
_LEVELS = 50


def sgd_pipeline(table: TrainingTable, rows: pd.DataFrame, *, learning_rate: float) -> Any:
    """Return a scikit-learn pipeline whose preparing steps are fitted to rows, and whose model is untrained.

    Numbers and booleans: a missing value becomes the column's median, then all are standardised. Text: one column of 0
    and 1 for each of the 50 most frequent values, "missing" among them, and one for all others; a value that was never
    seen counts among those. The model is linear: least squares for a regression, a logistic regression for classes.

    Call it before autologging is on, which would log the preparing steps as models of their own.
    """
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import SGDClassifier, SGDRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    texts = make_pipeline(
        SimpleImputer(missing_values=pd.NA, strategy="constant", fill_value="(missing)", keep_empty_features=True),
        OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=_LEVELS),
    )
    prepare = ColumnTransformer(
        [("numbers", numbers, [*table.numbers, *table.booleans]), ("texts", texts, [*table.texts])]
    )
    # warm_start lets each pass go on from the last one; one `fit` is one pass.
    once = {"max_iter": 1, "tol": None, "warm_start": True, "learning_rate": "constant", "eta0": learning_rate}
    classifies = table.task == "classification"
    descent = (
        SGDClassifier(loss="log_loss", random_state=0, **once) if classifies else SGDRegressor(random_state=0, **once)
    )
    prepare.fit(rows[[*table.features]])
    return make_pipeline(prepare, descent)


def train_epochs(pipeline: Any, features: pd.DataFrame, label: pd.Series, *, epochs: int) -> Iterator[float]:
    """Train a pipeline of `sgd_pipeline`, one pass over the rows at a time.

    Parameters
    ----------
    features : pandas.DataFrame of shape (n_rows, n_features)
    label : pandas.Series of shape (n_rows,)
    epochs : int
        Number of passes.

    Yields
    ------
    float
        Mean squared error, or log loss of a classifier, on these rows after each pass. The last pass is a `fit` of the
        whole pipeline, which autologging sees, so the run's training metrics are those of the finished model.
    """
    from sklearn.base import is_classifier

    descent = pipeline[-1]
    prepared, labels = pipeline[:-1].transform(features), label.to_numpy()
    classes = {"classes": sorted(set(labels.tolist()))} if is_classifier(descent) else {}
    for _ in range(epochs - 1):
        descent.partial_fit(prepared, labels, **classes)
        yield _loss(descent, prepared, labels)
    pipeline.fit(features, label)
    yield _loss(descent, prepared, labels)


def sgd_quality(table: TrainingTable, pipeline: Any, rows: pd.DataFrame) -> Quality:
    """Judge a trained pipeline by rows that it has not seen."""
    features = rows[[*table.features]]
    probabilities = pipeline.predict_proba(features) if table.classes else None
    return Quality(rows[table.label].to_numpy(), pipeline.predict(features), table.classes, probabilities)


def _loss(descent: Any, prepared: Any, labels: Any) -> float:
    import numpy as np
    from sklearn.base import is_classifier
    from sklearn.metrics import log_loss

    if is_classifier(descent):
        return float(log_loss(labels, descent.predict_proba(prepared), labels=descent.classes_))
    return float(np.mean((descent.predict(prepared) - labels) ** 2))
