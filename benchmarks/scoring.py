"""Scoring and watching large tables, against plain Spark that does the same work without the promises."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING

from rounds import alternate

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_FEATURES = ("a", "b", "c", "d")
_ROWS, _MORE_ROWS, _MOST_ROWS = 1_000_000, 10_000_000, 40_000_000
_MODEL = "models:/light/1"


def scoring() -> None:
    """Full, streaming and incremental scoring against `spark_udf` with an overwrite; monitoring against `describe`."""
    from adbazureml import AzureMLWorkspace, runtime, track

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    track(AzureMLWorkspace.get(name="", subscription_id="", resource_group=""), mode="databricks")
    _register()
    for table, rows in (("rows", _ROWS), ("more_rows", _MORE_ROWS), ("most_rows", _MOST_ROWS)):
        _grow(table, rows)
    numbers = count()
    for name, ways, rounds in (
        (f"{_ROWS:,} rows, not written", _predicting, 9),
        (f"{_ROWS:,} rows", lambda: _on_all_rows(numbers), 5),
        (f"{_MORE_ROWS:,} rows", lambda: _in_full("more_rows"), 3),
        (f"1 % new of {_MOST_ROWS:,} rows", _on_new_rows, 3),
        (f"{_ROWS:,} rows of 20 columns", _watching, 5),
    ):
        medians = alternate(ways(), rounds=rounds)
        first = next(iter(medians.values()))
        for way, seconds in medians.items():
            print(f"{name}, {way}: {seconds:.2f} s, {seconds / first:.2f}", flush=True)
        # In kilobytes, where this is Linux.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name}, the driver's Python so far: {peak:.0f} MB at most", flush=True)
    runtime.spark().stop()


def _register() -> None:
    import mlflow
    import numpy as np
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema
    from sklearn.linear_model import LinearRegression

    mlflow.set_experiment("/Users/bench/scoring")
    features = pd.DataFrame(np.random.default_rng(0).random((100, len(_FEATURES))), columns=_FEATURES)
    signature = ModelSignature(Schema([ColSpec("double", name) for name in _FEATURES]), Schema([ColSpec("double")]))
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            LinearRegression().fit(features, features["a"]),
            name="model",
            signature=signature,
            registered_model_name="light",
            pip_requirements=["mlflow"],
        )


def _grow(table: str, rows: int) -> None:
    from adbazureml import runtime

    frame = runtime.spark().range(rows).selectExpr("id", *(f"rand() AS {name}" for name in _FEATURES))
    frame.write.saveAsTable(table, format="delta", mode="append")


def _timed(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _plain(table: str) -> DataFrame:
    """Predictions by `spark_udf` with column arguments."""
    from mlflow.pyfunc import spark_udf

    from adbazureml import runtime

    model = spark_udf(runtime.spark(), _MODEL, result_type="double", env_manager="local")
    return runtime.spark().table(table).withColumn("prediction", model(*_FEATURES))


def _overwrite(table: str, *, with_origin: bool = False) -> Callable[[], float]:
    """Score all rows with `spark_udf` and overwrite the predictions; by choice with the columns that `score` adds."""
    from pyspark.sql import functions

    def step() -> None:
        scored = _plain(table)
        if with_origin:
            origin = {"model_name": "light", "model_version": "1", "model_uri": _MODEL}
            scored = scored.withColumns({name: functions.lit(value) for name, value in origin.items()})
            scored = scored.withColumn("scored_at", functions.current_timestamp())
        scored.write.saveAsTable(f"{table}_overwritten_{with_origin}", format="delta", mode="overwrite")

    return lambda: _timed(step)


def _predicting() -> dict[str, Callable[[], float]]:
    """Predictions alone, into nowhere."""
    from adbazureml import predict, runtime

    def into_nowhere(scored: Callable[[], DataFrame]) -> Callable[[], float]:
        return lambda: _timed(lambda: scored().write.format("noop").mode("overwrite").save())

    return {
        "spark_udf": into_nowhere(lambda: _plain("rows")),
        "predict": into_nowhere(lambda: predict(runtime.spark().table("rows"), model=_MODEL)),
    }


def _in_full(table: str) -> dict[str, Callable[[], float]]:
    from adbazureml import score

    return {
        "spark_udf and overwrite": _overwrite(table),
        "the same, with the model's name and the time": _overwrite(table, with_origin=True),
        "a copy": lambda: _timed(_copy_of(table)),
        "score in full, by Python": lambda: _timed(
            lambda: score(table=table, model=_MODEL, into=f"{table}_full", mode="full", engine="python")
        ),
        "score in full, by SQL": lambda: _timed(
            lambda: score(table=table, model=_MODEL, into=f"{table}_sql", mode="full", engine="sql")
        ),
    }


def _copy_of(table: str) -> Callable[[], None]:
    from adbazureml import runtime

    return lambda: runtime.spark().table(table).write.saveAsTable(f"{table}_copy", format="delta", mode="overwrite")


def _on_all_rows(numbers: Iterator[int]) -> dict[str, Callable[[], float]]:
    from adbazureml import score

    def stream() -> float:
        into = f"streamed_{next(numbers)}"
        start = time.perf_counter()
        running = score(table="rows", model=_MODEL, into=into, mode="stream")
        running.catch_up()
        seconds = time.perf_counter() - start
        running.stop()
        return seconds

    return {
        **_in_full("rows"),
        "score for the first time": lambda: _timed(
            lambda: score(table="rows", model=_MODEL, into=f"first_{next(numbers)}")
        ),
        "score as a stream": stream,
    }


def _on_new_rows() -> dict[str, Callable[[], float]]:
    from adbazureml import score

    score(table="most_rows", model=_MODEL, into="incremental")

    def new_rows() -> float:
        _grow("most_rows", _MOST_ROWS // 100)
        return _timed(lambda: score(table="most_rows", model=_MODEL, into="incremental"))

    def nothing_new() -> float:
        return _timed(lambda: score(table="most_rows", model=_MODEL, into="incremental"))

    return {
        "spark_udf and overwrite": _overwrite("most_rows"),
        "score what is new": new_rows,
        "score where nothing is new": nothing_new,
    }


def _watching() -> dict[str, Callable[[], float]]:
    from adbazureml import monitor, profile, runtime

    columns = [f"{'exp(randn())' if i % 2 else 'rand()'} AS x{i}" for i in range(20)]
    runtime.spark().range(_ROWS).selectExpr(*columns).write.saveAsTable("watched", format="delta")
    rows = runtime.spark().table("watched")
    baseline = profile(rows.limit(10_000))
    return {
        "describe": lambda: _timed(lambda: rows.describe().collect()),
        "monitor": lambda: _timed(lambda: monitor(rows, baseline=baseline)),
    }
