"""Metrics and limits of plain arrays, and what a file of rules may say."""

import numpy as np
import pandas as pd
import pytest
from mlflow.models import MetricThreshold
from sklearn import metrics as sklearn_metrics

from adbazureml.errors import RegistryError, SettingsError
from adbazureml.validation import Threshold, read_rules
from adbazureml.validation.answers import Answers
from adbazureml.validation.limits import limit_checks
from adbazureml.validation.metrics import interval_of, metrics_of, row_losses


@pytest.fixture
def three_classes():
    random = np.random.default_rng(0)
    labels = random.choice([2, 10, 1], size=60, p=[0.5, 0.3, 0.2])
    probabilities = random.dirichlet([1, 1, 1], size=60)
    classes = np.array([1, 2, 10])
    return labels, Answers(values=classes[probabilities.argmax(axis=1)], probabilities=probabilities, classes=classes)


def test_probabilities_are_measured_as_scikit_learn_does(three_classes):
    labels, answers = three_classes
    found = metrics_of(pd.Series(labels), answers, "classification")
    given, classes = answers.probabilities, answers.classes
    assert found["log_loss"] == pytest.approx(sklearn_metrics.log_loss(labels, given, labels=classes))
    area = sklearn_metrics.roc_auc_score(labels, given, multi_class="ovr", average="weighted", labels=classes)
    assert found["roc_auc"] == pytest.approx(area)


def test_a_class_that_the_model_never_learned_is_no_error(three_classes):
    labels, answers = three_classes
    found = metrics_of(pd.Series(np.where(labels == 1, 7, labels)), answers, "classification")
    assert found["log_loss"] > 1
    assert 0 < found["roc_auc"] < 1


def test_classes_are_equal_however_they_are_spelled():
    answers = np.array([True, False, True])
    for labels in ([1.0, 0.0, 1.0], [True, False, True], ["1", "0", "1"]):
        assert row_losses(pd.Series(labels), answers, "classification", None).tolist() == [0, 0, 0]


def test_an_interval_of_no_difference_is_a_point():
    assert interval_of(np.full(5, 0.25)) == (0.25, 0.25)


@pytest.mark.parametrize(
    ("ours", "theirs", "limits", "passed"),
    [
        (0.3, None, Threshold(threshold=0.3), True),
        (0.29, None, Threshold(threshold=0.3), False),
        (float("nan"), None, Threshold(threshold=-9), False),
        (0.5, None, Threshold(min_relative_change=0.5), True),
        (0.5, 0.4, Threshold(min_relative_change=0.2), True),
        (0.47, 0.4, Threshold(min_relative_change=0.2), False),
        (0.5, 0.45, Threshold(min_absolute_change=0.1), False),
        (0.39, 0.4, Threshold(worse_by=0.05), True),
        (0.37, 0.4, Threshold(worse_by=0.05), False),
        # Below 0, where MLflow's own rule took the worse for the better.
        (-0.55, -0.5, MetricThreshold(min_relative_change=0.05, greater_is_better=True), False),
        (-0.45, -0.5, MetricThreshold(min_relative_change=0.05, greater_is_better=True), True),
        (-0.55, -0.5, Threshold(worse_by=0.05), False),
    ],
)
def test_limits_of_r2(ours, theirs, limits, passed):
    (check,) = limit_checks({"r2_score": ours}, {} if theirs is None else {"r2_score": theirs}, {"r2_score": limits})
    assert check.passed == passed, check.said


def test_less_error_is_better():
    ours, theirs = {"root_mean_squared_error": 10.4}, {"root_mean_squared_error": 10.0}
    for limits, passed in ((Threshold(worse_by=0.05), True), (Threshold(threshold=10.2), False)):
        assert limit_checks(ours, theirs, {"root_mean_squared_error": limits})[0].passed == passed


def test_which_way_is_better_must_be_known():
    with pytest.raises(RegistryError, match="thresholds: cost: give greater_is_better"):
        limit_checks({"cost": 1.0}, {}, {"cost": Threshold(threshold=2)})


class TestRules:
    @pytest.fixture
    def read(self, tmp_path):
        def rules(text):
            (tmp_path / "validation.yml").write_text(text)
            return read_rules(tmp_path / "validation.yml")

        return rules

    def test_are_arguments_of_validate(self, read):
        assert read(
            """
            thresholds:
              r2_score: {threshold: 0.3, worse_by: 0.1}
              cost: {threshold: 5, greater_is_better: false}
            slices: [sex]
            tags: [owner]
            description: true
            size_mb: 500
            latency_ms:
            """
        ) == {
            "thresholds": {
                "r2_score": Threshold(threshold=0.3, worse_by=0.1),
                "cost": Threshold(threshold=5, greater_is_better=False),
            },
            "slices": ("sex",),
            "tags": ("owner",),
            "description": True,
            "size_mb": 500,
        }

    def test_without_a_file_or_in_an_empty_one_there_are_none(self, read):
        assert read_rules("") == read("# nothing\n") == {}

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("slice: [sex]", "slice: no such rule; known are thresholds, slices"),
            ("slices: sex", r"slices: 'sex' is wrong; a list of columns, such as \[sex\], is expected"),
            ("thresholds: {r2_score: 0.3}", "thresholds: r2_score: 0.3 is wrong; expected are numbers"),
            ("thresholds: {r2_score: {at_least: 0.3}}", "expected are numbers for any of threshold, min_absolute"),
            ("description: 1\nsize_mb: true", "description: 1 is wrong; true or false is expected\n  size_mb: True"),
            ("- slices", r"\['slices'\]: expected names with values"),
            ("a: [", "is no YAML"),
        ],
    )
    def test_what_is_wrong_is_named(self, read, text, said):
        with pytest.raises(SettingsError, match=said):
            read(text)

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(SettingsError, match=r"none.yml: this file of rules can't be read: No such file"):
            read_rules(tmp_path / "none.yml")
