"""A job of its own process: scores `grown` in a race with another one, then once more, and dies on the way."""

import os
import signal
import sys
import time
from pathlib import Path

import mlflow

from adbazureml import runtime
from adbazureml.scoring import score, stream


def die_after_writing(batches):
    """Batches wait here between the commit of their rows and the commit of the checkpoint."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(store, go, ends):
    mlflow.set_tracking_uri(store)
    runtime.spark().table("grown").count()
    Path(f"{go}.{ends}").touch()
    while not os.path.exists(go):
        time.sleep(0.02)
    score(table="grown", model="models:/doubling/1", into="raced_for")
    Path(f"{go}.{ends}.raced").touch()
    if ends == "after_writing":
        stream.Batches._rows_of_last_write = die_after_writing
    model = "models:/holding/1" if ends == "in_model" else "models:/doubling/1"
    score(table="grown", model=model, into=f"killed_{ends}")


if __name__ == "__main__":
    main(*sys.argv[1:])
