"""The scikit-learn model on rows of many kinds, and the figures and pictures that fit what it predicts; no Spark."""

import pickletools

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from adbazureml.samples import Quality, learning_curve, sgd_pipeline, sgd_quality, train_epochs


def trained(table, rows):
    pipeline = sgd_pipeline(table, rows, learning_rate=0.002)
    losses = list(train_epochs(pipeline, rows[[*table.features]], rows[table.label], epochs=20))
    return pipeline, losses


def test_regression_on_numbers_flags_and_text_with_missing_values(described, lettings):
    table = described()
    pipeline, losses = trained(table, lettings)
    assert len(losses) == 20
    assert losses[-1] < losses[0] / 5
    quality = sgd_quality(table, pipeline, lettings)
    assert set(quality.metrics()) == {"mae", "rmse", "r2"}
    assert quality.metrics()["r2"] > 0.8
    assert set(quality.pictures()) == {"residuals.png"}


@pytest.mark.parametrize("kind", [str, int, bool])
def test_classes_are_learned_and_given_back_as_they_are(described, lettings, kind):
    dear = lettings["rent"] > 1800
    rows = lettings.assign(dear=dear.map({True: "yes", False: "no"}) if kind is str else dear.astype(kind))
    table = described("dear", classes=tuple(sorted(set(rows["dear"]))))
    pipeline, losses = trained(table, rows)
    assert losses[-1] < losses[0]
    assert set(pipeline.predict(rows[[*table.features]]).tolist()) == set(rows["dear"].tolist())
    quality = sgd_quality(table, pipeline, rows)
    metrics = quality.metrics()
    assert set(metrics) == {"accuracy", "log_loss", "roc_auc"}
    assert metrics["accuracy"] > 0.85
    assert metrics["roc_auc"] > 0.9
    assert metrics["log_loss"] == pytest.approx(losses[-1])
    assert set(quality.pictures()) == {"confusion_matrix.png", "roc.png"}


def test_what_was_never_seen_and_what_is_missing_is_predicted_all_the_same(described, lettings):
    pipeline, _ = trained(described(), lettings)
    new = pd.DataFrame(
        {"m² (net)": [50.0, np.nan, 50.0], "lift": [1.0, np.nan, np.nan], "city.name": ["Basel", None, np.nan]}
    )
    assert np.isfinite(pipeline.predict(new)).all()


def test_it_runs_where_this_package_is_not_installed(described, lettings):
    pipeline, _ = trained(described(), lettings)
    named = {str(argument) for _, argument, _ in pickletools.genops(cloudpickle.dumps(pipeline))}
    assert not [name for name in named if name.startswith("adbazureml")]


def test_three_classes_one_of_which_the_rows_to_judge_by_do_not_hold():
    shares = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.4, 0.5, 0.1]])
    quality = Quality(np.array(["a", "b", "a", "b"]), np.array(["a", "b", "a", "b"]), ("a", "b", "c"), shares)
    assert set(quality.metrics()) == {"accuracy", "log_loss"}
    assert set(quality.pictures()) == {"confusion_matrix.png", "roc.png"}


def test_the_area_of_three_classes_is_their_mean():
    shares = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]])
    quality = Quality(np.array([0, 1, 2]), np.array([0, 1, 2]), (0, 1, 2), shares)
    assert quality.metrics()["roc_auc"] == 1.0


def test_the_learning_curve_names_its_loss():
    labels = [learning_curve([3.0, 2.0], task=task).axes[0].get_ylabel() for task in ("regression", "classification")]
    assert labels == ["mean squared error", "log loss"]
