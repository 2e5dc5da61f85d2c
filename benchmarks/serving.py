"""Our scoring script under Microsoft's inference server, against ``mlflow models serve``: alternated rounds."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

_ROUNDS = 7
_FEATURES = 10
_PORT_WAIT_S = 120
# Of a round.
_SECONDS = 1.5


def serving() -> None:
    """Requests a second and p99 with 1 and 8 clients, for one row and 1,000 rows, and the memory of the servers."""
    import numpy as np
    import pandas as pd

    from adbazureml.deployment import deploy

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    rows = pd.DataFrame(np.random.default_rng(0).random((1000, _FEATURES)), columns=[f"x{i}" for i in range(_FEATURES)])
    model = _logged(rows)
    with deploy(model, name="bench", timeout=600) as endpoint, _mlflow_models_serve(model) as (process, url):
        urls = {"inference server": endpoint.url, "mlflow models serve": url}
        for count, clients in product((1, 1000), (1, 8)):
            body = {"dataframe_split": rows.head(count).to_dict(orient="split", index=False)}
            _compared(urls, body, clients=clients, title=f"{count} rows")
        print(f"memory: inference server {_memory_mb(_pid(endpoint)):.0f} MB, mlflow {_memory_mb(process.pid):.0f} MB")


def _compared(urls: dict[str, str], body: dict[str, Any], *, clients: int, title: str) -> None:
    """Print the medians over rounds of requests a second and of p99, for each server, and their ratio."""
    from adbazureml.deployment.load_test import LoadTest, load_test
    from adbazureml.deployment.scoring_client import session

    rounds: dict[str, list[LoadTest]] = {name: [] for name in urls}
    for number in range(_ROUNDS + 1):
        for name in urls if number % 2 else reversed(urls):
            result = load_test(lambda name=name: (session(), urls[name]), body, seconds=_SECONDS, clients=clients)  # type: ignore[misc]
            if result.errors:
                raise RuntimeError(f"{name}: {result}")
            # The first round warms up.
            if number:
                rounds[name].append(result)
    said = "; ".join(
        f"{name} {median(each.rate for each in of_one):.0f}/s, p99 {median(each.p99_ms for each in of_one):.1f} ms"
        for name, of_one in rounds.items()
    )
    ours, theirs = rounds.values()
    rate_ratio = median(mine.rate / other.rate for mine, other in zip(ours, theirs, strict=True))
    p99_ratio = median(mine.p99_ms / other.p99_ms for mine, other in zip(ours, theirs, strict=True))
    print(f"{title}, {clients} clients: {said}; ratio of rates {rate_ratio:.2f}, of p99 {p99_ratio:.2f}", flush=True)


def _logged(rows: Any) -> str:
    import mlflow
    from mlflow.models import infer_signature
    from sklearn.linear_model import LinearRegression

    from adbazureml import AzureMLWorkspace, model_requirements, track

    track(AzureMLWorkspace.get(name="", subscription_id="", resource_group=""), mode="databricks")
    mlflow.set_experiment("/Users/bench/serving")
    fitted = LinearRegression().fit(rows, rows["x0"])
    with mlflow.start_run():
        info = mlflow.sklearn.log_model(
            fitted,
            name="model",
            signature=infer_signature(rows, fitted.predict(rows)),
            input_example=rows.head(2),
            pip_requirements=model_requirements("scikit-learn", "pandas", "numpy"),
        )
    return str(info.model_uri)


@contextmanager
def _mlflow_models_serve(model: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    import os
    import socket

    import mlflow
    import psutil

    from adbazureml.deployment.scoring_client import is_healthy

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "-p", str(port)]
    process = subprocess.Popen(
        [*command, "--env-manager", "local", "--workers", "1"],
        # It looks for its uvicorn there.
        env={**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _PORT_WAIT_S
        while not is_healthy(f"http://127.0.0.1:{port}/ping", timeout=2):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("mlflow models serve did not start")
            time.sleep(0.2)
        yield process, f"http://127.0.0.1:{port}/invocations"
    finally:
        if process.poll() is None:
            # It leaves its uvicorn behind when only the parent is stopped.
            for each in (*psutil.Process(process.pid).children(recursive=True), process):
                each.terminate()
            process.wait()


def _pid(endpoint: Any) -> int:
    from adbazureml.deployment.targets.local import records

    folder = records.in_charge(endpoint.name)
    server = records.read_server(folder) if folder else None
    assert server is not None
    return server.pid


def _memory_mb(pid: int) -> float:
    """Memory of a process and its children, shared pages counted once where the system tells."""
    import psutil

    parent = psutil.Process(pid)
    processes = [parent, *parent.children(recursive=True)]
    return float(sum(getattr(each.memory_full_info(), "pss", each.memory_info().rss) for each in processes)) / 2**20
