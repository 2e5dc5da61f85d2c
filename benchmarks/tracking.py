"""What dual tracking costs: two MLflow servers on loopback, the replica behind 30 ms of latency."""

from __future__ import annotations

import logging
import math
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.emulators.mlflow_server import MLflowServer  # noqa: E402

LATENCY = 0.030
POINTS, PARAMS, ARTIFACT = 1000, 20, 2**20
# The naive way takes a minute: it logs a quarter, and its seconds count fourfold.
QUARTER = 4


@dataclass(frozen=True)
class Servers:
    """The primary, the replica, and the long ways to them."""

    primary: str
    far_primary: str
    replica: str
    far: str
    counter: Counter


class Counter:
    """Reads from the proxy how many requests came through: all, and those of artifacts."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def take(self, line: str = "count") -> tuple[int, int]:
        """Requests since the last call; breaks the way ("hang", "drop") or mends it ("mend") from now on."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        every, artifacts = self._process.stdout.readline().split()
        return int(every), int(artifacts)


@contextmanager
def servers() -> Iterator[Servers]:
    """Start both servers and the proxy before the second one."""
    with tempfile.TemporaryDirectory() as folder:
        primary, replica = MLflowServer(Path(folder, "primary")), MLflowServer(Path(folder, "replica"))
        # Both at once: each takes seconds to start.
        replica.start()
        with primary, replica, _long_way(primary.url) as (far_primary, _), _long_way(replica.url) as (far, process):
            yield Servers(primary.url, far_primary, replica.url, far, Counter(process))


@contextmanager
def _long_way(url: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, str(ROOT / "tests/emulators/proxy.py"), url, str(LATENCY)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.communicate()


def tracking() -> None:
    """Live logging, catch-up of a long run, and back-fill of an experiment."""
    logging.getLogger("adbazureml").setLevel(logging.ERROR)
    with servers() as both:
        _live(both)
        _short_runs(both)
        _short_runs_away(both)
        _seen(both)
        _catch_up(both)
        _back_fill(both)


def _live(both: Servers) -> None:
    import mlflow

    from adbazureml.tracking.store_pair import switch_off

    def alone(uri: str) -> Callable[[], tuple[float, float]]:
        def once() -> tuple[float, float]:
            switch_off()
            mlflow.set_tracking_uri(uri)
            return _train(_fluent)

        return once

    def dual() -> tuple[float, float]:
        _switch_on(both)
        return _train(_fluent)

    def naive() -> tuple[float, float]:
        switch_off()
        clients = [mlflow.MlflowClient(tracking_uri=uri) for uri in (both.primary, both.far)]
        return _train_twice(clients)

    def asynchronous(way: Callable[[], tuple[float, float]], buffer: str = "") -> Callable[[], tuple[float, float]]:
        def once() -> tuple[float, float]:
            if buffer:
                os.environ["MLFLOW_ASYNC_LOGGING_BUFFERING_SECONDS"] = buffer
            mlflow.config.enable_async_logging()
            try:
                return way()
            finally:
                mlflow.config.enable_async_logging(False)
                os.environ.pop("MLFLOW_ASYNC_LOGGING_BUFFERING_SECONDS", None)

        return once

    ways: Mapping[str, Callable[[], tuple[float, float]]] = {
        "primary alone": alone(both.primary),
        "both (adbazureml)": dual,
        "naive: each call twice": naive,
        "MLflow asynchronous, to the replica alone": asynchronous(alone(both.far)),
        "MLflow buffered, to the replica alone": asynchronous(alone(both.far), "1"),
        "both (adbazureml), buffered": asynchronous(dual, "1"),
    }
    rounds: dict[str, list[tuple[float, float, int, int]]] = {name: [] for name in ways}
    for number in range(4):
        for name, way in ways.items():
            both.counter.take()
            loop, end = way()
            every, artifacts = both.counter.take()
            # The first round makes stores, experiments and threads.
            if number:
                rounds[name].append((loop, end, every - artifacts, artifacts))
    base = statistics.median(loop for loop, *_ in rounds["primary alone"])
    whole = statistics.median(loop + end for loop, end, *_ in rounds["primary alone"])
    print(
        f"{POINTS} points one by one, {PARAMS} params, one artifact of 1 MB; the loop on the primary alone {base:.2f} s"
    )
    print(f"{'way':45} {'loop':>6} {'whole':>6} {'end':>7}  requests to the replica (+ artifacts)")
    for name, times in rounds.items():
        loop = statistics.median(one[0] for one in times) / base
        all_of_it = statistics.median(one[0] + one[1] for one in times) / whole
        end = statistics.median(one[1] for one in times)
        print(f"{name:45} {loop:6.2f} {all_of_it:6.2f} {end:5.2f} s  {max(one[2] for one in times)} + {times[0][3]}")


def _short_runs(both: Servers, rounds: int = 3) -> None:
    """A process of many short top-level runs, as a search for hyperparameters makes them; both workspaces answer."""
    import mlflow

    from adbazureml.tracking import flush
    from adbazureml.tracking.store_pair import switch_off

    number = 100
    # A primary on the same cores is slowed by the work for the replica; one far away is not.
    for where, primary in (("", both.primary), (" with the primary as far away", both.far_primary)):
        alone, dual, behind = [], [], []
        # The first round makes stores, experiments and threads.
        for one in range(rounds + 1):
            switch_off()
            mlflow.set_tracking_uri(primary)
            plain = _many(number)
            _switch_on_from(primary, both.far)
            seconds = _many(number)
            start = time.perf_counter()
            assert flush()
            if one:
                alone.append(plain)
                dual.append(seconds)
                behind.append(time.perf_counter() - start)
        base, seconds = statistics.median(alone), statistics.median(dual)
        print(
            f"{number} short runs{where}: {base:.2f} s alone, {seconds:.2f} s in both, {seconds / base:.2f};"
            f" in sync {statistics.median(behind):.1f} s after the last"
        )


def _short_runs_away(both: Servers, number: int = 60, rounds: int = 3) -> None:
    """The same in whole processes, from start to exit, while the replica does not answer."""
    for kind in ("refuse", "hang", "drop"):
        far = both.far
        if kind == "refuse":
            # Nobody listens there.
            far = "http://127.0.0.1:9"
        else:
            both.counter.take(kind)
        alone, dual = [], []
        for _ in range(rounds):
            alone.append(_process(both.primary, "", number))
            dual.append(_process(both.primary, far, number))
        both.counter.take("mend")
        base, seconds = statistics.median(alone), statistics.median(dual)
        print(
            f"{number} short runs while the replica {kind}s: {seconds:.1f} s for the process with its exit,"
            f" {base:.1f} s alone: {seconds - 1.05 * base:+.1f} s on 1.05 of it"
        )


def _process(primary: str, far: str, number: int) -> float:
    """Seconds of a process of many short runs."""
    command = [sys.executable, __file__, primary, far, str(number)]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT / "benchmarks")
    return time.perf_counter() - start


def _many(number: int) -> float:
    import mlflow

    mlflow.set_experiment("bench")
    start = time.perf_counter()
    for one in range(number):
        with mlflow.start_run():
            mlflow.log_params({"depth": one, "rate": 0.1})
            mlflow.log_metric("loss", 1 / (one + 1))
    return time.perf_counter() - start


def _seen(both: Servers, times: int = 3) -> None:
    """How long after it was logged a point is seen in the replica, whatever came before it."""
    import mlflow

    from adbazureml.tracking.run_tags import AZUREML_RUN_ID

    _switch_on(both)
    primary, replica = mlflow.MlflowClient(both.primary), mlflow.MlflowClient(both.replica)
    mlflow.set_experiment("bench")
    seconds = []
    with mlflow.start_run() as run:
        for step in range(times):
            mlflow.log_metric("loss", step, step=step)
            start = time.perf_counter()
            while True:
                counterpart = primary.get_run(run.info.run_id).data.tags.get(AZUREML_RUN_ID)
                if counterpart and replica.get_run(counterpart).data.metrics.get("loss") == step:
                    break
                time.sleep(0.05)
            seconds.append(time.perf_counter() - start)
    print(f"a point is seen in the replica after {', '.join(f'{one:.1f}' for one in seconds)} s")


def _switch_on(both: Servers) -> None:
    _switch_on_from(both.primary, both.far)


def _switch_on_from(primary: str, far: str) -> None:
    import mlflow

    from adbazureml.tracking.store_pair import StorePair

    page = "http://page/{experiment_id}/{run_id}"
    StorePair(primary_uri=primary, primary_page=page, replica_uri=far, replica_page=page).switch_on()
    mlflow.set_tracking_uri(primary)


def _train(log: Callable[[Any], None]) -> tuple[float, float]:
    """Seconds of the loop, and of the run's end."""
    import mlflow

    mlflow.set_experiment("bench")
    run = mlflow.start_run()
    start = time.perf_counter()
    log(run)
    ended = time.perf_counter()
    mlflow.end_run()
    return ended - start, time.perf_counter() - ended


def _fluent(_: Any) -> None:
    import mlflow

    for number in range(PARAMS):
        mlflow.log_param(f"param{number}", number)
    for step in range(POINTS):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_text("x" * ARTIFACT, "artifact.txt")


def _train_twice(clients: list[Any]) -> tuple[float, float]:
    runs = []
    for client in clients:
        found = client.get_experiment_by_name("naive")
        experiment_id = found.experiment_id if found else client.create_experiment("naive")
        runs.append((client, client.create_run(experiment_id).info.run_id))
    start = time.perf_counter()
    for number in range(PARAMS // QUARTER):
        for client, run_id in runs:
            client.log_param(run_id, f"param{number}", number)
    for step in range(POINTS // QUARTER):
        for client, run_id in runs:
            client.log_metric(run_id, "loss", 1 / (step + 1), step=step)
    for client, run_id in runs:
        client.log_text(run_id, "x" * ARTIFACT, "artifact.txt")
    ended = time.perf_counter()
    for client, run_id in runs:
        client.set_terminated(run_id)
    return (ended - start) * QUARTER, time.perf_counter() - ended


def _catch_up(both: Servers, points: int = 100_000, rounds: int = 3) -> None:
    """One run of 100,000 points, against the bare batches of them."""
    import mlflow
    from mlflow.entities import Metric

    from adbazureml import catch_up
    from adbazureml.tracking.store_pair import switch_off

    switch_off()
    mlflow.set_tracking_uri(both.primary)
    mlflow.set_experiment("long")
    batches = [
        [Metric("loss", 1 / (step + 1), 1_700_000_000_000 + step, step) for step in range(start, start + 1000)]
        for start in range(0, points, 1000)
    ]
    near, far = mlflow.MlflowClient(both.primary), mlflow.MlflowClient(both.far)
    found = far.get_experiment_by_name("bare")
    experiment_id = found.experiment_id if found else far.create_experiment("bare")
    bare, caught = [], []
    for _ in range(rounds):
        run_id = far.create_run(experiment_id).info.run_id
        start = time.perf_counter()
        for batch in batches:
            far.log_batch(run_id, batch)
        bare.append(time.perf_counter() - start)
        with mlflow.start_run() as run:
            for batch in batches:
                near.log_batch(run.info.run_id, batch)
        _switch_on(both)
        start = time.perf_counter()
        assert catch_up(run_ids=[run.info.run_id]).runs[0].written == points
        caught.append(time.perf_counter() - start)
        switch_off()
    ratio = statistics.median(caught) / statistics.median(bare)
    print(f"catch-up of {points:,} points: {statistics.median(caught):.1f} s, {ratio:.2f} of the bare batches")
    seconds = _export_import(both, run.info.run_id)
    print(
        f"mlflow-export-import's export and import of it: {seconds / statistics.median(bare):.2f} of the bare batches"
    )


def _export_import(both: Servers, run_id: str) -> float:
    """Seconds that mlflow-export-import takes for the same run, in an environment of its own; NaN without it.

    Export and import are processes of their own, since it does some of its calls where the environment points.
    """
    script = """
        import sys, time
        import mlflow
        from mlflow_export_import.run.export_run import RunExporter
        from mlflow_export_import.run.import_run import RunImporter
        start = time.perf_counter()
        {step}
        print("seconds", time.perf_counter() - start, file=sys.stderr)
    """
    steps = {
        both.primary: f'RunExporter(mlflow.MlflowClient()).export_run("{run_id}", "exported")',
        both.far: 'RunImporter(mlflow.MlflowClient()).import_run("by-export-import", "exported")',
    }
    seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        python = f"{folder}/bin/python"
        wanted = ["mlflow-export-import==1.2.0", "mlflow==3.8.1", "sqlalchemy<2.1", "tabulate"]
        try:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True, capture_output=True)
            for uri, step in steps.items():
                done = subprocess.run(
                    [python, "-c", textwrap.dedent(script.format(step=step))],
                    check=True,
                    capture_output=True,
                    text=True,
                    cwd=folder,
                    env={**os.environ, "MLFLOW_TRACKING_URI": uri},
                )
                seconds += float(done.stderr.rsplit("seconds", 1)[1])
        except subprocess.CalledProcessError as error:
            print(f"mlflow-export-import does not do it: {str(error.stderr)[-300:]}")
            return math.nan
    return seconds


def _back_fill(both: Servers, runs: int = 1000) -> None:
    """An experiment of 1,000 runs, by quarters, and a second pass over them."""
    import mlflow
    import psutil

    from adbazureml import catch_up
    from adbazureml.tracking.store_pair import switch_off

    switch_off()
    client = mlflow.MlflowClient(both.primary)
    experiment_id = client.create_experiment("many")
    ids = []
    for number in range(runs):
        run_id = client.create_run(experiment_id, run_name=f"run{number}").info.run_id
        client.log_batch(run_id, metrics=[mlflow.entities.Metric("loss", number, 1_700_000_000_000, 0)])
        client.set_terminated(run_id)
        ids.append(run_id)
    _switch_on(both)
    quarter = runs // 4
    process = psutil.Process()
    total = 0.0
    for start in range(0, runs, quarter):
        began = time.perf_counter()
        assert not catch_up(run_ids=ids[start : start + quarter]).out_of_sync
        seconds = time.perf_counter() - began
        total += seconds
        print(
            f"back-fill of runs {start}+: {1000 * seconds / quarter:.0f} ms a run, {process.memory_info().rss >> 20} MB"
        )
    began = time.perf_counter()
    assert not catch_up(experiment="many").out_of_sync
    again = time.perf_counter() - began
    print(f"second pass over {runs} in sync runs: {again:.2f} s, {100 * again / total:.1f}% of the first")


if __name__ == "__main__":
    # One process of `_short_runs_away`.
    import mlflow

    if sys.argv[2]:
        _switch_on_from(sys.argv[1], sys.argv[2])
    else:
        mlflow.set_tracking_uri(sys.argv[1])
    _many(int(sys.argv[3]))
