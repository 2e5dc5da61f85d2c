"""Drift of one frame against another: against scipy and sums made by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from mlflow.utils.validation import _validate_metric_name
from scipy.stats import ks_2samp, wasserstein_distance

from adbazureml.errors import SettingsError, TableError
from adbazureml.monitoring import drift


def _by_name(report):
    return {column.column: column for column in report.columns}


@pytest.fixture(scope="module")
def samples():
    """A baseline of 4,000 rows and 3,000 new ones, whose columns moved in ways that are known."""
    rng = np.random.default_rng(7)
    before, now = 4000, 3000
    baseline = pd.DataFrame(
        {
            "same": rng.normal(size=before),
            "moved": rng.normal(size=before),
            "skewed": rng.lognormal(size=before),
            "counts": rng.poisson(2, size=before),
        }
    )
    current = pd.DataFrame(
        {
            "same": rng.normal(size=now),
            "moved": rng.normal(0.8, 1.3, size=now),
            "skewed": rng.lognormal(0.3, size=now),
            "counts": rng.poisson(3, size=now),
        }
    )
    return current, baseline


@pytest.fixture(scope="module")
def report(spark, samples):
    return drift(*(spark.createDataFrame(frame) for frame in samples))


def test_numbers_agree_with_scipy(report, samples):
    current, baseline = samples
    for name, column in _by_name(report).items():
        assert column.ks == pytest.approx(ks_2samp(current[name], baseline[name]).statistic, abs=2e-3)
        exact = wasserstein_distance(current[name], baseline[name])
        spread = baseline[name].std()
        assert column.wasserstein / spread == pytest.approx(exact / spread, abs=0.01)


def test_psi_of_quantile_bins_agrees_with_numpy(report, samples):
    current, baseline = samples
    for name in ("same", "moved", "skewed"):
        edges = np.quantile(baseline[name], np.arange(1, 10) / 10, method="inverted_cdf")
        now, before = (
            np.bincount(np.searchsorted(edges, frame[name]), minlength=10) / len(frame) for frame in (current, baseline)
        )
        expected = np.sum((now - before) * np.log(now / before))
        # The sketch may place an edge one row in 10,000 aside.
        assert _by_name(report)[name].psi == pytest.approx(expected, abs=2e-3)


def test_only_what_moved_is_flagged(report):
    assert set(report.drifted) == {"moved", "counts"}
    assert _by_name(report)["same"].psi < 0.01
    assert (report.rows_current, report.rows_baseline) == (3000, 4000)


def test_categories_by_hand(spark):
    baseline = spark.createDataFrame([("a", True)] * 5 + [("b", True)] * 4 + [(None, True)], "c string, b boolean")
    current = spark.createDataFrame(
        [("a", True)] * 2 + [("b", True)] * 4 + [("new", True)] * 2 + [(None, False)] * 2, "c string, b boolean"
    )
    text, flag = drift(current, baseline).columns
    by_hand = (
        (0.2 - 0.5) * math.log(0.2 / 0.5)  # a
        + 0  # b
        + (0.2 - 1e-4) * math.log(0.2 / 1e-4)  # new
        + (0.2 - 0.1) * math.log(0.2 / 0.1)  # missing
    )
    assert text.psi == pytest.approx(by_hand)
    middle = {"a": 0.35, "b": 0.4, "new": 0.1, "missing": 0.15}
    now = {"a": 0.2, "b": 0.4, "new": 0.2, "missing": 0.2}
    before = {"a": 0.5, "b": 0.4, "missing": 0.1}
    divergence = sum(share * math.log2(share / middle[name]) for side in (now, before) for name, share in side.items())
    assert text.js_distance == pytest.approx(math.sqrt(divergence / 2))
    assert (text.missing_current, text.missing_baseline) == (0.2, 0.1)
    assert text.kind == flag.kind == "categorical"
    assert text.ks is None
    assert text.wasserstein is None
    assert flag.psi == pytest.approx((0.8 - 1) * math.log(0.8) + (0.2 - 1e-4) * math.log(0.2 / 1e-4))


@pytest.mark.parametrize("bins", [2, 10])
@pytest.mark.parametrize("new_value", [4.0, 6.0])
def test_a_constant_that_changes_has_drifted(spark, new_value, bins):
    baseline = spark.createDataFrame([(5.0,)] * 20, "x double")
    column = drift(spark.createDataFrame([(new_value,)] * 20, "x double"), baseline, bins=bins).columns[0]
    assert column.drifted
    assert column.js_distance == pytest.approx(1)
    assert column.ks == 1
    assert column.wasserstein == pytest.approx(1)


def test_a_constant_that_stays_has_not_drifted(spark):
    frame = spark.createDataFrame([(5,)] * 20, "x int")
    column = drift(frame, frame).columns[0]
    assert (column.psi, column.js_distance, column.ks, column.wasserstein) == (0, 0, 0, 0)


def test_missing_and_nan_are_one_bin(spark):
    baseline = spark.createDataFrame([(1.0,), (2.0,), (None,), (float("nan"),)], "x double")
    current = spark.createDataFrame([(1.0,), (None,), (None,), (float("nan"),)], "x double")
    column = drift(current, baseline).columns[0]
    assert (column.missing_current, column.missing_baseline) == (0.75, 0.5)
    assert column.ks == pytest.approx(0.5)


def test_all_missing(spark):
    full = spark.createDataFrame([(1.0, "a")] * 4, "x double, c string")
    empty = spark.createDataFrame([(None, None)] * 4, "x double, c string")
    for report in (drift(empty, full), drift(full, empty)):
        assert report.drifted == ("x", "c")
        assert all(column.js_distance == pytest.approx(1) for column in report.columns)
        assert report.columns[0].ks is None
    assert drift(empty, empty).drifted == ()


def test_infinite_values_are_figures_too(spark):
    baseline = spark.createDataFrame([(1.0,), (2.0,), (math.inf,)], "x double")
    current = spark.createDataFrame([(-math.inf,), (2.0,), (math.inf,)], "x double")
    report = drift(current, baseline)
    assert report.columns[0].wasserstein == math.inf
    assert "drift_wasserstein/x" not in report.metrics()
    assert "drift_ks/x" in report.metrics()


def test_many_categories_are_capped_by_frequency(spark):
    frame = (
        spark.range(300).selectExpr("CAST(id AS STRING) AS c").union(spark.createDataFrame([("7",)] * 50, "c string"))
    )
    without = frame.where("c <> '7'")
    column = drift(without, frame).columns[0]
    assert column.psi > 0.2


def test_columns_that_cannot_be_compared_are_all_named(spark):
    current = spark.createDataFrame([(1, 2, "x", [1])], "a int, only_new int, t string, l array<int>")
    baseline = spark.createDataFrame([(1.5, 2, 3, [1])], "a double, only_old int, t int, l array<int>")
    with pytest.raises(TableError) as error:
        drift(current, baseline)
    said = str(error.value)
    assert "'only_new' is not in the baseline" in said
    assert "'only_old' is not in the current data" in said
    assert "'t' is string in the current data and int in the baseline" in said
    assert "'l' is array<int>" in said
    assert "'a'" not in said
    assert drift(current, baseline, columns=["a"]).columns[0].kind == "numeric"
    with pytest.raises(TableError, match="'z' is not in the current data nor in the baseline"):
        drift(current, baseline, columns=["a", "z"])


def test_a_frame_without_rows_is_named(spark):
    frame = spark.createDataFrame([(1,)], "a int")
    none = frame.where("a > 1")
    with pytest.raises(TableError, match="no row in the current data"):
        drift(none, frame)
    with pytest.raises(TableError, match="no row in the baseline"):
        drift(frame, none)


def test_wrong_numbers_are_named(spark):
    frame = spark.createDataFrame([(1,)], "a int")
    with pytest.raises(SettingsError, match="drift_threshold: 0"):
        drift(frame, frame, threshold=0)
    with pytest.raises(SettingsError, match="bins: 1"):
        drift(frame, frame, bins=1)


def test_strange_column_names_become_metrics_that_mlflow_takes(spark):
    names = ["a/b", "a_b", "größe (%)", "..", "x.y", "tick`ed", "$a$"]
    frame = spark.createDataFrame([tuple(range(len(names)))], names)
    report = drift(frame, frame)
    metrics = report.metrics()
    assert len(metrics) == 2 + 5 * len(names)
    for name in metrics:
        _validate_metric_name(name)
        assert name.isascii()
        assert ":" not in name
    assert report.plot().axes[0].get_yticklabels()[-1].get_text()


def test_report_as_table_picture_and_metrics(report):
    table = report.to_pandas()
    assert list(table["column"]) == ["same", "moved", "skewed", "counts"]
    assert list(table["drifted"]) == [False, True, False, True]
    metrics = report.metrics()
    assert metrics["drift_columns"] == 2
    assert metrics["drift_share"] == 0.5
    assert metrics["drift_psi/moved"] == _by_name(report)["moved"].psi
    html = report._repr_html_()
    assert html.count("<b>drifted</b>") == 2
    assert "2 of 4 columns drifted (3,000 rows against 4,000)" in html
    axes = report.plot().axes[0]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == sorted(column.psi for column in report.columns)
    assert len({bar.get_facecolor() for bar in axes.patches}) == 2
    assert axes.lines[0].get_xdata()[0] == 0.2
