"""Our scoring script under Microsoft's inference server, against ``mlflow models serve``: alternated rounds."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

_ROUNDS = 7
_FEATURES = 10
_PORT_WAIT_S = 120
# Requests of a round, by rows in a request.
_REQUESTS = {1: 200, 1000: 40}


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
        for count, clients in product(_REQUESTS, (1, 8)):
            body = {"dataframe_split": rows.head(count).to_dict(orient="split", index=False)}
            _compared(urls, body, clients=clients, requests_a_round=_REQUESTS[count], title=f"{count} rows")
        print(f"memory: inference server {_memory_mb(_pid(endpoint)):.0f} MB, mlflow {_memory_mb(process.pid):.0f} MB")


def _compared(urls: dict[str, str], body: dict[str, Any], *, clients: int, requests_a_round: int, title: str) -> None:
    """Print the medians over rounds of requests a second and of p99, for each server, and their ratio."""
    rates: dict[str, list[float]] = {name: [] for name in urls}
    p99s: dict[str, list[float]] = {name: [] for name in urls}
    for number in range(_ROUNDS + 1):
        for name in urls if number % 2 else reversed(urls):
            rate, p99 = _round(urls[name], body, clients=clients, requests_a_round=requests_a_round)
            # The first round warms up.
            if number:
                rates[name].append(rate)
                p99s[name].append(p99)
    ours, theirs = urls
    said = "; ".join(f"{name} {median(rates[name]):.0f}/s, p99 {median(p99s[name]):.1f} ms" for name in urls)
    rate_ratio = median(mine / other for mine, other in zip(rates[ours], rates[theirs], strict=True))
    p99_ratio = median(mine / other for mine, other in zip(p99s[ours], p99s[theirs], strict=True))
    print(f"{title}, {clients} clients: {said}; ratio of rates {rate_ratio:.2f}, of p99 {p99_ratio:.2f}", flush=True)


def _round(url: str, body: dict[str, Any], *, clients: int, requests_a_round: int) -> tuple[float, float]:
    import json

    import numpy as np

    from adbazureml.deployment.scoring_client import session

    text = json.dumps(body)

    def client(_: int) -> list[float]:
        times = []
        with session() as connection:
            for _ in range(requests_a_round // clients):
                start = time.perf_counter()
                answer = connection.post(url, data=text, headers={"Content-Type": "application/json"}, timeout=60)
                answer.raise_for_status()
                times.append(time.perf_counter() - start)
        return times

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        times = [each for of_one in pool.map(client, range(clients)) for each in of_one]
    return len(times) / (time.perf_counter() - start), float(np.percentile(times, 99)) * 1000


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
