"""Scoring and watching large tables, against plain Spark that does the same work without the promises."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable, Iterator
from itertools import count

from rounds import alternate

_FEATURES = ("a", "b", "c", "d")
_ROWS, _MANY_ROWS = 1_000_000, 10_000_000
_MODEL = "models:/light/1"


def scoring() -> None:
    """Full, streaming and incremental scoring against `spark_udf` with an overwrite; monitoring against `describe`."""
    from adbazureml import AzureMLWorkspace, runtime, track

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    track(AzureMLWorkspace.get(name="", subscription_id="", resource_group=""), mode="databricks")
    _register()
    for table, rows in (("rows", _ROWS), ("many_rows", _MANY_ROWS)):
        _grow(table, rows)
    numbers = count()
    for name, ways, rounds in (
        (f"{_ROWS:,} rows", lambda: _on_all_rows(numbers), 5),
        (f"1 % new of {_MANY_ROWS:,} rows", _on_new_rows, 3),
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


def _overwrite(table: str) -> Callable[[], float]:
    """Score all rows with `spark_udf` and overwrite the predictions."""
    from mlflow.pyfunc import spark_udf

    from adbazureml import runtime

    def step() -> None:
        model = spark_udf(runtime.spark(), _MODEL, result_type="double", env_manager="local")
        scored = runtime.spark().table(table).withColumn("prediction", model(*_FEATURES))
        scored.write.saveAsTable(f"{table}_overwritten", format="delta", mode="overwrite")

    return lambda: _timed(step)


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
        "spark_udf and overwrite": _overwrite("rows"),
        "score in full": lambda: _timed(lambda: score(table="rows", model=_MODEL, into="full", mode="full")),
        "score for the first time": lambda: _timed(
            lambda: score(table="rows", model=_MODEL, into=f"first_{next(numbers)}")
        ),
        "score as a stream": stream,
    }


def _on_new_rows() -> dict[str, Callable[[], float]]:
    from adbazureml import score

    score(table="many_rows", model=_MODEL, into="incremental")

    def new_rows() -> float:
        _grow("many_rows", _MANY_ROWS // 100)
        return _timed(lambda: score(table="many_rows", model=_MODEL, into="incremental"))

    return {
        "spark_udf and overwrite": _overwrite("many_rows"),
        "score what is new": new_rows,
        "score in full": lambda: _timed(lambda: score(table="many_rows", model=_MODEL, into="many_full", mode="full")),
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
