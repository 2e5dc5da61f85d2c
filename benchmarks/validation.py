"""Comparing a new version with the champion, against two plain calls of `mlflow.models.evaluate`."""

from __future__ import annotations

import logging
import time

from rounds import alternate

_ROWS = 100_000


def validation() -> None:
    """Two scikit-learn models of ten columns on the same rows, beside MLflow's own evaluation of both."""
    import mlflow
    import numpy as np
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    from adbazureml import AzureMLWorkspace, model_requirements, promote, register, track, validate

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.normal(size=(_ROWS, 10)), columns=[f"x{i}" for i in range(10)])
    label = rows.sum(axis="columns") + random.normal(size=_ROWS)
    workspace = AzureMLWorkspace.get(name="", subscription_id="", resource_group="")
    track(workspace, mode="databricks")
    mlflow.set_experiment("/Users/bench/validation")
    versions = []
    for share in (0.001, 1.0):
        some = rows.sample(frac=share, random_state=0)
        model = LinearRegression().fit(some, label[some.index])
        with mlflow.start_run() as run:
            mlflow.sklearn.log_model(
                model,
                name="model",
                signature=mlflow.models.infer_signature(rows, model.predict(rows.head())),
                pip_requirements=model_requirements("scikit-learn", "pandas", "numpy"),
            )
        versions.append(register(run, name="bench_validation", registry="databricks"))
    champion, challenger = versions
    promote(champion)
    data = rows.assign(y=label)

    def evaluated() -> float:
        start = time.perf_counter()
        for version in (challenger, champion):
            mlflow.models.evaluate(version.uri, data, targets="y", model_type="regressor")
        return time.perf_counter() - start

    def validated() -> float:
        start = time.perf_counter()
        assert validate(challenger, data=data, label="y").passed
        return time.perf_counter() - start

    evaluated(), validated()
    medians = alternate({"evaluate": evaluated, "validate": validated}, rounds=5)
    ratio = medians["validate"] / medians["evaluate"]
    print(f"validate, {_ROWS:,} rows: {medians['validate']:.2f} s, {ratio:.2f} of two mlflow.models.evaluate calls")
