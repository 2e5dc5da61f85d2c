"""What a report on quality says and logs, from sums made by hand."""

import math

import numpy as np
import pytest
from scipy.stats import t

from adbazureml.errors import DriftError
from adbazureml.monitoring.quality_report import DayQuality, QualityReport, VersionQuality
from adbazureml.monitoring.sequential_test import Losses

ERRORS = np.array([1.0, 2.0, 3.0, 6.0])


def part(name, errors):
    sums = (float(np.sum(np.power(errors, power))) for power in (1, 2, 4))
    total, squares, fourths = sums
    return DayQuality(part=name, losses=Losses(len(errors), total, squares), fourths=fourths)


def report(task="regression", *, training=None, fallen_since=None, version="prices/3", errors=ERRORS):
    days = (part("2026-11-22", errors), part("2026-11-23", errors))
    one = VersionQuality(
        version=version,
        days=days,
        slices=(part("sex = 1", errors),),
        training=training,
        fallen_since=fallen_since,
    )
    return QualityReport(task=task, versions=(one,))


def test_errors_with_intervals_by_hand():
    found = part("", ERRORS).metrics("regression")
    half = t.isf(0.025, 3) * ERRORS.std(ddof=1) / 2
    assert found["mean_absolute_error"] == pytest.approx((3, 3 - half, 3 + half))
    squares = np.square(ERRORS)
    above = squares.mean() + t.isf(0.025, 3) * squares.std(ddof=1) / 2
    assert found["root_mean_squared_error"] == pytest.approx((math.sqrt(12.5), 0, math.sqrt(above)))


def test_accuracy_with_wilsons_interval():
    """Newcombe (1998), Statistics in Medicine 17: 81 of 263 give 0.2553 to 0.3662."""
    errors = np.array([0.0] * 81 + [1.0] * 182)
    assert part("", errors).metrics("classification")["accuracy_score"] == pytest.approx(
        (81 / 263, 0.2553, 0.3662), abs=1e-4
    )


def test_one_label_has_no_interval():
    _, low, high = part("", ERRORS[:1]).metrics("regression")["mean_absolute_error"]
    assert math.isnan(low)
    assert math.isnan(high)


def test_what_is_said():
    training = Losses(100, 150.0, 400.0)
    said = "mean_absolute_error 3 [1.33, 4.67] in 8 labelled rows"
    assert str(report()) == f"prices/3: {said}; nothing from training to compare with."
    few = f"prices/3: too few labels to tell, 50 are needed: {said}, 1.5 at training."
    assert str(report(training=training)) == few
    assert str(report(training=training, errors=np.tile(ERRORS, 10))).startswith(
        "prices/3: no fall of quality is proven"
    )
    fallen = report(training=training, fallen_since="2026-11-23")
    assert str(fallen) == f"prices/3: quality has fallen since 2026-11-23: {said}, 1.5 at training."
    with pytest.raises(DriftError, match="quality has fallen since 2026-11-23"):
        fallen.check()
    report(training=training).check()
    assert str(QualityReport(task="regression", versions=())) == "No label has come yet for any prediction."


def test_a_report_as_table_picture_and_metrics():
    found = report(training=Losses(100, 150.0, 400.0), fallen_since="2026-11-23")
    table = found.to_pandas()
    assert list(table["part"]) == ["all", "2026-11-22", "2026-11-23", "sex = 1"]
    assert list(table["rows"]) == [8, 4, 4, 4]
    assert list(table["mean_absolute_error"]) == [3] * 4
    assert found.metrics() == pytest.approx(
        {
            "quality_fallen": 1,
            "quality_rows/prices_3": 8,
            "quality_mean_absolute_error/prices_3": 3,
            "quality_root_mean_squared_error/prices_3": math.sqrt(12.5),
        }
    )
    axes = found.plot().axes[0]
    assert axes.get_title(loc="left") == "Quality has fallen: prices/3"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2026-11-22", "2026-11-23"]
    assert axes.lines[-1].get_ydata()[0] == 1.5
    assert "sex = 1" in found._repr_html_()
