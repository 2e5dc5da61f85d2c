"""What other processes do in tests: train, catch up, fork. They are killed at any moment."""

from __future__ import annotations

import os
import time

import mlflow

import adbazureml.tracking.outbox
import adbazureml.tracking.plugin
from adbazureml import catch_up, track


def train(experiment: str, run_ids: str, steps: int = 10_000, pause: float = 0.002, mode: str = "both") -> None:
    """Log in many ways until killed, or to the end; the runs' ids go to a file."""
    if mode == "databricks":
        track(mode="databricks")
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name="killed") as run:
        with open(run_ids, "a") as ids:
            ids.write(f"{run.info.run_id}\n")
        mlflow.log_params({f"param{number}": number for number in range(20)})
        for step in range(steps):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
            if step % 50 == 7:
                mlflow.log_metric("odd", float("nan"), step=step)
                mlflow.set_tag("step", step)
                mlflow.log_text(f"at {step}", f"notes/{step}.txt")
            if step % 200 == 50:
                with mlflow.start_run(nested=True):
                    mlflow.log_metric("fold", step)
            time.sleep(pause)


def end_a_run_and_die(experiment: str, signal_number: int) -> None:
    """End a run and the process right after it."""
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name="left"):
        mlflow.log_param("depth", 3)
        mlflow.log_metric("loss", 0.5)
        mlflow.log_text("hello", "hello.txt")
    os.kill(os.getpid(), signal_number)


def many_runs(experiment: str, number: int, seconds: str) -> None:
    """Make short runs; how long that took goes to a file."""
    mlflow.set_experiment(experiment)
    start = time.monotonic()
    for one in range(number):
        with mlflow.start_run():
            mlflow.log_metric("loss", one)
    with open(seconds, "w") as file:
        file.write(str(time.monotonic() - start))


def catch_up_with(experiment: str) -> None:
    """Catch an experiment up."""
    catch_up(experiment=experiment)


def log_in_forks(experiment: str) -> None:
    """Log in a run, fork, log in both; both end."""
    mlflow.set_experiment(experiment)
    with mlflow.start_run() as run:
        mlflow.log_metric("parent", 1.0, step=0)
        child = os.fork()
        mlflow.MlflowClient().log_metric(run.info.run_id, "child" if child == 0 else "parent", 2.0, step=1)
        if child == 0:
            adbazureml.tracking.outbox.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0
