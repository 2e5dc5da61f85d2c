"""What a run costs in an Azure ML workspace 30 ms away, beside Microsoft's plug-in alone where that can do it."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

LATENCY = 0.03
PARAMS = {f"param_{number}": number for number in range(20)}
METRICS = {f"metric_{number}": number / 7 for number in range(1000)}
ROUNDS = 5


def azure_ml() -> None:
    """A run with 1,000 metrics, 20 params and a model: seconds and requests."""
    import mlflow
    from rounds import alternate
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import LinearRegression
    from tests.emulators.azureml import AzureMLEmulator

    from adbazureml import model_requirements

    features, label = load_diabetes(return_X_y=True, as_frame=True)
    model = LinearRegression().fit(features, label)
    options: dict[str, Any] = {
        "signature": mlflow.models.infer_signature(features, model.predict(features)),
        "pip_requirements": model_requirements("scikit-learn", "pandas", "numpy"),
    }
    with AzureMLEmulator() as azure:
        os.environ.update(azure.environment)
        azure.activate()
        counted: dict[str, int] = {}

        def timed(name: str, log: Callable[[], None], *, plain: bool, whole: bool) -> Callable[[], float]:
            def once() -> float:
                with _microsofts_store() if plain else _ours():
                    mlflow.set_tracking_uri(azure.tracking_uri)
                    mlflow.set_experiment("benchmark")
                    azure.latency = LATENCY
                    before, start = len(azure.requests), time.perf_counter()
                    with mlflow.start_run():
                        mlflow.log_params(PARAMS)
                        mlflow.log_metrics(METRICS)
                        if not whole:
                            before, start = len(azure.requests), time.perf_counter()
                        log()
                        if not whole:
                            seconds, counted[name] = time.perf_counter() - start, len(azure.requests) - before
                    if whole:
                        seconds, counted[name] = time.perf_counter() - start, len(azure.requests) - before
                    azure.latency = 0
                    return seconds

            return once

        def log_model() -> None:
            mlflow.sklearn.log_model(model, name="model", **options)

        def save_and_upload() -> None:
            with tempfile.TemporaryDirectory() as folder:
                mlflow.sklearn.save_model(model, f"{folder}/model", **options)
                mlflow.log_artifacts(f"{folder}/model", "model")

        ways = {
            name: timed(name, log, plain=plain, whole=whole)
            for name, log, plain, whole in (
                ("run without a model, Microsoft's plug-in", lambda: None, True, True),
                ("run without a model, ours", lambda: None, False, True),
                ("save_model and upload, Microsoft's plug-in", save_and_upload, True, False),
                ("log_model, ours", log_model, False, False),
            )
        }
        medians = alternate(ways, ROUNDS)
        for name, seconds in medians.items():
            print(f"{name}: {seconds:.2f} s, {counted[name]} requests")


@contextmanager
def _microsofts_store() -> Iterator[None]:
    """azureml-mlflow's own builders in MLflow's registries."""
    from azureml.mlflow import entry_point_loaders as microsoft
    from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories
    from mlflow.tracking._tracking_service.utils import _tracking_store_registry

    stores, repositories = _tracking_store_registry._registry, get_registered_artifact_repositories()
    ours = stores["azureml"], repositories["azureml"]
    stores["azureml"], repositories["azureml"] = microsoft.azureml_store_builder, microsoft.azureml_artifacts_builder
    _tracking_store_registry._get_store_with_resolved_uri.cache_clear()
    try:
        yield
    finally:
        stores["azureml"], repositories["azureml"] = ours
        _tracking_store_registry._get_store_with_resolved_uri.cache_clear()


@contextmanager
def _ours() -> Iterator[None]:
    yield
