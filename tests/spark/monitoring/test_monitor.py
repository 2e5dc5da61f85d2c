"""Drift of one frame against another: against scipy and sums made by hand."""

import math
import re
from dataclasses import replace

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema
from mlflow.utils.validation import _validate_metric_name
from scipy.stats import ks_2samp, wasserstein_distance

from adbazureml import runtime
from adbazureml.errors import DriftError, SettingsError, TableError, TrackingError
from adbazureml.monitoring import Thresholds, monitor, profile


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
    return monitor(spark.createDataFrame(samples[0]), baseline=spark.createDataFrame(samples[1]))


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
    assert set(report.drifted) == {"moved", "skewed", "counts"}
    assert all(column.p_adjusted < 1e-6 for column in report.columns if column.drifted)
    assert _by_name(report)["same"].psi < 0.01
    assert (report.rows_current, report.rows_baseline) == (3000, 4000)


def test_categories_by_hand(spark):
    baseline = spark.createDataFrame([("a", True)] * 5 + [("b", True)] * 4 + [(None, True)], "c string, b boolean")
    current = spark.createDataFrame(
        [("a", True)] * 2 + [("b", True)] * 4 + [("new", True)] * 2 + [(None, False)] * 2, "c string, b boolean"
    )
    text, flag = monitor(current, baseline=baseline).columns
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
    column = monitor(
        spark.createDataFrame([(new_value,)] * 20, "x double"), baseline=profile(baseline, bins=bins)
    ).columns[0]
    assert column.drifted
    assert column.js_distance == pytest.approx(1)
    assert column.ks == 1
    assert column.wasserstein == pytest.approx(1)


def test_a_constant_that_stays_has_not_drifted(spark):
    frame = spark.createDataFrame([(5,)] * 20, "x int")
    column = monitor(frame, baseline=frame).columns[0]
    assert (column.psi, column.js_distance, column.ks, column.wasserstein) == (0, 0, 0, 0)


def test_missing_and_nan_are_one_bin(spark):
    baseline = spark.createDataFrame([(1.0,), (2.0,), (None,), (float("nan"),)], "x double")
    current = spark.createDataFrame([(1.0,), (None,), (None,), (float("nan"),)], "x double")
    column = monitor(current, baseline=baseline).columns[0]
    assert (column.missing_current, column.missing_baseline) == (0.75, 0.5)
    assert column.ks == pytest.approx(0.5)


def test_all_missing(spark):
    full = spark.createDataFrame([(1.0, "a")] * 4, "x double, c string")
    empty = spark.createDataFrame([(None, None)] * 4, "x double, c string")
    for report in (monitor(empty, baseline=full), monitor(full, baseline=empty)):
        assert report.drifted == ("x", "c")
        assert all(column.js_distance == pytest.approx(1) for column in report.columns)
        assert report.columns[0].ks is None
    assert monitor(empty, baseline=empty).drifted == ()


def test_infinite_values_are_figures_too(spark):
    baseline = spark.createDataFrame([(1.0,), (2.0,), (math.inf,)], "x double")
    current = spark.createDataFrame([(-math.inf,), (2.0,), (math.inf,)], "x double")
    report = monitor(current, baseline=baseline)
    assert report.columns[0].wasserstein == math.inf
    assert "drift_wasserstein/x" not in report.metrics()
    assert "drift_ks/x" in report.metrics()


def test_many_categories_are_capped_by_frequency(spark):
    frame = (
        spark.range(600)
        .selectExpr("CAST(id % 300 AS STRING) AS c")
        .union(spark.createDataFrame([("7",)] * 99, "c string"))
    )
    without = frame.where("c <> '7'")
    column = monitor(without, baseline=frame).columns[0]
    assert column.psi > 0.2


def test_columns_that_cannot_be_compared_are_all_named(spark):
    current = spark.createDataFrame([(1, 2, "x", (1,))], "a int, only_new int, t string, l struct<b: int>")
    baseline = spark.createDataFrame([(1.5, 2, 3, (1,))], "a double, only_old int, t int, l struct<b: int>")
    with pytest.raises(TableError) as error:
        monitor(current, baseline=baseline)
    said = str(error.value)
    assert "'only_new' is not in the baseline" in said
    assert "'only_old' is not in the current data" in said
    assert "'t' is string in the current data and int in the baseline" in said
    assert "'l' is struct<b:int> in the current data and struct<b:int> in the baseline, neither number, text" in said
    assert "'a'" not in said
    assert monitor(current, baseline=baseline, columns=["a"]).columns[0].kind == "numeric"
    with pytest.raises(TableError, match="'z' is not in the current data nor in the baseline"):
        monitor(current, baseline=baseline, columns=["a", "z"])


def test_pandas_spark_and_tables_give_the_same_answer(spark, samples, report):
    current, baseline = (frame.assign(kind=pd.Categorical(["a", "b"] * (len(frame) // 2))) for frame in samples)
    assert monitor(current, baseline=baseline, columns=list(samples[0])).columns == report.columns
    assert profile(baseline.head(10), columns=["kind"]).columns[0].counts == (5, 5, 0, 0)
    spark.createDataFrame(samples[0]).write.saveAsTable("drift_rows_now", format="delta")
    spark.createDataFrame(samples[1]).write.saveAsTable("drift_rows_before", format="delta")
    try:
        by_tables = monitor("drift_rows_now", baseline="drift_rows_before")
        assert (by_tables.columns, by_tables.source) == (report.columns, "drift_rows_now")
        assert profile("drift_rows_before") == profile(samples[1])
    finally:
        runtime.drop_table("drift_rows_now")
        runtime.drop_table("drift_rows_before")


def test_a_pandas_frame_that_spark_has_no_type_for_is_refused(spark):
    mixed = pd.DataFrame({"a": [1, "x", object()]})
    with pytest.raises(TableError, match="the pandas frame can't go to Spark"):
        profile(mixed)


def test_dates_times_texts_and_arrays_are_looked_at_by_what_they_have(spark):
    """Days moved by a week are other days on the same weekdays; the rest of what changes is found where it is."""
    rng = np.random.default_rng(5)
    days = pd.Timestamp("2026-03-02") + pd.to_timedelta(rng.integers(0, 28, 400), unit="D")
    before = pd.DataFrame(
        {
            "day": days.date,
            "at": days + pd.Timedelta(hours=5),
            "note": ["x" * n + f" {i}" for i, n in enumerate(rng.integers(10, 30, 400))],
            "vector": list(rng.normal(size=(400, 3))),
            "nothing": [None] * 400,
        }
    )
    now = before.assign(
        day=(days + pd.Timedelta(days=28)).date,
        at=days.where(days.weekday != 0, days + pd.Timedelta(days=1)) + pd.Timedelta(hours=5),
        note=np.where(rng.random(400) < 0.2, "", before["note"]),
        vector=[None if i % 5 == 0 else list(2 * v) for i, v in enumerate(before["vector"])],
    )
    found = monitor(now, baseline=before)
    assert [column.column for column in found.columns] == [
        *("day", "day (weekday)", "at", "at (weekday)", "note (length)", "vector (norm)", "nothing")
    ]
    assert set(found.drifted) == {"day", "at (weekday)", "note (length)", "vector (norm)"}
    findings = {one.binned.label: one.finding() for one in found.histograms}
    assert re.fullmatch(r"above 2026-03-\d\d: \d+% → 100%", findings["day"])
    assert findings["at (weekday)"].startswith(("Mon", "Tue"))
    assert findings["note (length)"].startswith("empty: 0% → ")
    assert _by_name(found)["vector (norm)"].missing_current == 0.2
    assert len(profile(before).rows().columns) == 1, "what a service takes as a table is values only"


def test_one_row_says_nothing(spark, samples):
    report = monitor(samples[0].head(1), baseline=samples[1])
    assert report.drifted == ()
    assert "With so few new rows only a large change shows" in str(report)


def test_a_time_stands_for_its_day(spark, samples):
    at = pd.Timestamp("2026-11-22 08:00") + pd.to_timedelta(np.arange(len(samples[0])) % 48, unit="h")
    report = monitor(samples[0].assign(at=at), baseline=profile(samples[1]), day_column="at")
    assert [one.day for one in report.days] == ["2026-11-22", "2026-11-23", "2026-11-24"]


def test_a_baseline_without_rows_is_refused(spark):
    frame = spark.createDataFrame([(1,)], "a int")
    none = frame.where("a > 1")
    with pytest.raises(TableError, match="no row in the baseline"):
        monitor(frame, baseline=none)


def test_wrong_numbers_are_named(spark):
    frame = spark.createDataFrame([(1,)], "a int")
    with pytest.raises(SettingsError, match="threshold: psi 0"):
        monitor(frame, baseline=frame, threshold=0)
    with pytest.raises(SettingsError, match="bins: 1"):
        profile(frame, bins=1)


def test_each_figure_may_have_a_threshold(spark, samples, report):
    rows, before = (spark.createDataFrame(frame) for frame in samples)
    known = _by_name(report)
    by_ks = monitor(rows, baseline=before, threshold=Thresholds(psi=None, ks=known["skewed"].ks))
    assert by_ks.drifted == ("moved", "skewed", "counts")
    with pytest.raises(DriftError, match=r"threshold being KS [\d.]+: moved \(KS [\d.]+, p [\de.-]+\), skewed \(KS"):
        by_ks.check()
    # Significant, and too small to matter.
    assert monitor(rows, baseline=before, threshold=0.2).drifted == ("moved", "counts")
    either = Thresholds(psi=known["counts"].psi, js_distance=known["skewed"].js_distance)
    assert monitor(rows, baseline=before, threshold=either).drifted == ("moved", "skewed", "counts")
    with pytest.raises(SettingsError, match="threshold: none given"):
        monitor(rows, baseline=before, threshold=Thresholds(psi=None))
    with pytest.raises(SettingsError, match=r"threshold: ks -1"):
        monitor(rows, baseline=before, threshold=Thresholds(ks=-1))


def test_a_baseline_as_rows_is_spread_as_the_training_rows(spark):
    rng = np.random.default_rng(3)
    seen = pd.DataFrame(
        {
            "number": np.where(rng.random(5000) < 0.1, np.nan, rng.lognormal(size=5000)),
            "whole": rng.poisson(3, size=5000),
            "flag": rng.random(5000) < 0.3,
            "text": rng.choice(["a", "b", None], size=5000, p=[0.6, 0.3, 0.1]),
            "nothing": np.full(5000, np.nan),
        }
    )
    frame = spark.createDataFrame(seen)
    rows = profile(frame).rows()
    assert rows.shape == (1000, 5)
    assert rows["number"].isna().mean() == pytest.approx(seen["number"].isna().mean(), abs=1e-3)
    assert rows["nothing"].isna().all()
    assert {type(value) for value in rows["whole"]} == {int}
    assert {type(value) for value in rows["flag"]} == {bool}
    typed = spark.createDataFrame(rows, "number double, whole long, flag boolean, text string, nothing double")
    drift = monitor(typed, baseline=frame)
    assert max(column.psi for column in drift.columns) < 1e-3
    assert drift.columns[0].ks < 2e-3


def test_strange_column_names_become_metrics_that_mlflow_takes(spark):
    names = ["a/b", "a_b", "größe (%)", "..", "x.y", "tick`ed", "$a$"]
    frame = spark.createDataFrame([tuple(range(len(names)))], names)
    report = monitor(frame, baseline=frame)
    metrics = report.metrics()
    assert len(metrics) == 3 + 6 * len(names)
    for name in metrics:
        _validate_metric_name(name)
        assert name.isascii()
        assert ":" not in name
    assert r"\$a\$: stable" in {axes.get_title(loc="left") for axes in report.plot().axes}


def test_report_as_table_picture_and_metrics(report):
    table = report.to_pandas()
    assert list(table["column"]) == ["same", "moved", "skewed", "counts"]
    assert list(table["drifted"]) == [False, True, True, True]
    metrics = report.metrics()
    assert metrics["drift_columns"] == 3
    assert metrics["drift_share"] == 0.75
    assert metrics["drift_psi/moved"] == _by_name(report)["moved"].psi
    html = report._repr_html_()
    assert html.count("<b>drifted</b>") == 3
    assert "3 of 4 columns drifted (3,000 rows against 4,000)" in html
    titles = [axes.get_title(loc="left") for axes in report.plot().axes]
    assert [title.partition(":")[0] for title in titles] == ["moved", "counts", "skewed", "same"]
    assert "3 of 4 columns drifted" in report.to_html()


@pytest.fixture(scope="module")
def version(tmp_path_factory, spark, samples):
    """A registered model whose run holds a baseline, and one whose run does not."""
    folder = tmp_path_factory.mktemp("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("monitor", (folder / "artifacts").as_uri()))
    signature = ModelSignature(Schema([ColSpec("double", "same")]), Schema([ColSpec("double")]))
    for name in ("watched", "unwatched"):
        with mlflow.start_run():
            mlflow.pyfunc.log_model(
                python_model=Doubling(),
                name="model",
                signature=signature,
                registered_model_name=name,
                pip_requirements=["mlflow"],
            )
            if name == "watched":
                profile(spark.createDataFrame(samples[1])).log()
    yield "models:/watched/1"
    mlflow.set_tracking_uri(before)


class Doubling(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input):
        return model_input["same"] * 2


def test_the_baseline_of_a_model_gives_what_the_training_rows_give(spark, samples, version, report):
    by_model = monitor(spark.createDataFrame(samples[0]), baseline=version)
    assert by_model == report


def test_the_champion_s_alias_means_its_version(spark, samples, version, report):
    mlflow.MlflowClient().set_registered_model_alias("watched", "champion", "1")
    assert monitor(spark.createDataFrame(samples[0]), baseline="models:/watched@champion") == report
    rows = spark.createDataFrame(samples[0].head(200)).selectExpr(
        "*", "'watched' AS model_name", "'1' AS model_version", f"'{version}' AS model_uri", "now() AS scored_at"
    )
    rows.write.saveAsTable("by_the_champion", format="delta")
    try:
        found = monitor("by_the_champion", baseline="models:/watched@champion", columns=["same"])
        assert (found.rows_current, found.source) == (200, f"by_the_champion, by {version}")
    finally:
        runtime.drop_table("by_the_champion")


def test_a_model_without_a_baseline_is_named(spark, samples, version):
    current = spark.createDataFrame(samples[0])
    with pytest.raises(TrackingError, match=r"'models:/unwatched/1' holds no .* profile\('the table'\)\.log\(\)"):
        monitor(current, baseline="models:/unwatched/1")
    with pytest.raises(TrackingError, match="'models:/nobody/1' can't be found"):
        monitor(current, baseline="models:/nobody/1")


def test_a_baseline_with_half_a_file_is_named(spark, samples, version):
    with mlflow.start_run() as run:
        mlflow.log_text('{"columns": [', "drift_baseline/baseline.json")
        model = mlflow.pyfunc.log_model(python_model=Doubling(), name="model", pip_requirements=["mlflow"])
    with pytest.raises(TrackingError, match=f"{run.info.run_id}' .* that can be read"):
        monitor(spark.createDataFrame(samples[0]), baseline=model.model_uri)


def test_each_day_and_all_of_them(spark, samples):
    current, baseline = samples
    days = np.where(np.arange(len(current)) < 1000, "2026-11-22", "2026-11-23")
    rows = current.assign(day=days)
    before = profile(spark.createDataFrame(baseline))
    report = monitor(spark.createDataFrame(rows), baseline=before, day_column="day")
    assert [(one.day, one.rows_current) for one in report.days] == [("2026-11-22", 1000), ("2026-11-23", 2000)]
    alone = monitor(spark.createDataFrame(current[days == "2026-11-22"]), baseline=before)
    for by_day, by_itself in zip(report.days[0].columns, alone.columns, strict=True):
        assert by_day.psi == pytest.approx(by_itself.psi)
        assert by_day.ks == pytest.approx(by_itself.ks, abs=2e-3)
    assert report.rows_current == 3000
    assert [label.get_text() for label in report.plot_days().axes[0].get_xticklabels()] == ["2026-11-22", "2026-11-23"]
    assert list(report.to_pandas()["day"].unique()) == ["", "2026-11-22", "2026-11-23"]
    with pytest.raises(TableError, match="day_column: 'date' is not among the columns"):
        monitor(spark.createDataFrame(rows), baseline=before, day_column="date")


def test_many_rows_in_one_task_are_summed_up_close_to_scipy(spark):
    """More than a worker sorts at once, so that the values are summed up twice."""
    rows = spark.range(0, 250_000, numPartitions=1).selectExpr("pow(randn(5), 3) AS x")
    before = spark.range(0, 20_000, numPartitions=1).selectExpr("pow(randn(6) + 0.1, 3) AS x")
    column = monitor(rows, baseline=before).columns[0]
    a, b = (frame.toPandas()["x"] for frame in (rows, before))
    assert column.ks == pytest.approx(ks_2samp(a, b).statistic, abs=3e-3)
    assert column.wasserstein == pytest.approx(wasserstein_distance(a, b), abs=0.02 * b.std())


def test_a_condition_and_a_table_that_are_none(spark, samples, version):
    with pytest.raises(TableError, match="there is no table 'no_such_table'"):
        monitor("no_such_table", baseline=version)
    current = spark.createDataFrame(samples[0])
    with pytest.raises(TableError, match="where: 'same >' is not an SQL condition"):
        monitor(current, baseline=version, where="same >")
    assert monitor(current, baseline=version, where="moved > 0", columns=["moved"]).drifted == ("moved",)


def test_no_new_row_is_no_error(spark, samples, version):
    report = monitor(spark.createDataFrame(samples[0]), baseline=version, where="same > 1e9")
    assert (report.drifted, report.rows_current) == ((), 0)
    assert str(report) == "No row yet to compare with the 4,000 of the baseline."
    assert "No row yet" in report._repr_html_()
    report.check()
    with mlflow.start_run() as run:
        report.log()
    assert mlflow.get_run(run.info.run_id).data.metrics == {
        "drift_rows": 0.0,
        "drift_columns": 0.0,
        "drift_share": 0.0,
    }
    report.append_to("never_made", model_uri=version)
    assert not runtime.table_exists("never_made")


def test_a_job_fails_where_a_column_drifted_if_asked(report, spark, samples, version):
    with pytest.raises(DriftError, match=r"3 of 4 columns drifted .*: moved \(PSI [\d.]+, p [\de.-]+\), skewed \(PSI"):
        report.check()
    monitor(spark.createDataFrame(samples[1]), baseline=version).check()


def test_figures_are_logged_and_appended(report, spark, version):
    assert report.alarm(version, reports=2, of=3).state == "silent"
    with mlflow.start_run() as run:
        report.log(model_uri=version)
    assert report.alarm(version, reports=1, of=3).said == "No alarm: no new row since the last report."
    assert replace(report, rows_current=3001).alarm(version, reports=2, of=3).state == "raised"
    assert replace(report, rows_current=3001).alarm("models:/watched/2", reports=2, of=3).state == "silent"
    data = mlflow.get_run(run.info.run_id).data
    assert data.metrics["drift_psi/moved"] == _by_name(report)["moved"].psi
    assert data.tags["mlflow.note.content"].startswith(str(report))
    found = {one.path for one in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert found == {"drift.png", "drift.csv", "drift.html"}
    try:
        report.append_to("drift_figures", model_uri=version)
        # As an earlier version of this package made it.
        spark.sql("ALTER TABLE drift_figures SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")
        spark.sql("ALTER TABLE drift_figures DROP COLUMNS (p_value, p_adjusted)")
        report.append_to("drift_figures", model_uri=version)
        rows = spark.table("drift_figures").where("column = 'moved'").collect()
        assert [(row["model_uri"], row["psi"], row["drifted"]) for row in rows] == [
            (version, _by_name(report)["moved"].psi, True)
        ] * 2
    finally:
        runtime.drop_table("drift_figures")
    spark.range(1).write.saveAsTable("other_figures", format="delta")
    try:
        with pytest.raises(TableError, match="table: 'other_figures' can't take the figures"):
            report.append_to("other_figures")
    finally:
        runtime.drop_table("other_figures")
