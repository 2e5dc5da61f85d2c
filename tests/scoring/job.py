"""A job of its own process: scores `grown` in a race with the tests' own, then dies in two scorings at once."""

import os
import signal
import sys
import time
from pathlib import Path
from threading import Thread

import mlflow

from adbazureml import runtime
from adbazureml.scoring import score, stream


def wait_for(path):
    while not path.exists():
        time.sleep(0.02)


def die_after_writing(batches):
    """Batches wait here between the commit of their rows and the commit of the checkpoint."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(store, folder):
    mlflow.set_tracking_uri(store)
    runtime.spark().table("grown").count()
    (folder / "ready").touch()
    wait_for(folder / "go")
    score(table="grown", model="models:/doubling/1", into="raced_for")
    (folder / "raced").touch()
    in_model = {"table": "grown", "model": "models:/holding/1", "into": "killed_in_model"}
    Thread(target=score, kwargs=in_model, daemon=True).start()
    wait_for(folder / "hold.reached")
    stream.Batches._rows_of_last_write = die_after_writing
    score(table="grown", model="models:/doubling/1", into="killed_after_writing")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
