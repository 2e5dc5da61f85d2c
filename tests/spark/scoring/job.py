"""A job of its own process: scores `grown` in a race with the tests' own, then dies in four scorings at once."""

import os
import signal
import sys
import time
from pathlib import Path
from threading import Thread

import mlflow

from adbazureml import runtime
from adbazureml.scoring import backfill as backfills
from adbazureml.scoring import score, stream


def wait_for(path, scorings=()):
    while not path.exists():
        if not all(scoring.is_alive() for scoring in scorings):
            sys.exit("a scoring ended that should have been killed")
        time.sleep(0.02)


def die_after_writing(batches):
    """Batches wait here between the commit of their rows and the commit of the checkpoint."""
    os.kill(os.getpid(), signal.SIGKILL)


def hold_before_writing(write, reached):
    """A batch of one target waits between the offsets and its rows."""

    def hold(batches, *arguments):
        if batches.targets.into == "killed_before_writing":
            reached.touch()
            time.sleep(300)
        write(batches, *arguments)

    return hold


def hold_between_parts(write, reached):
    """A backfill waits when its first part is written, before its second."""

    def hold(rows, target, **options):
        if target == "killed_between_parts" and options["version"] % 10**9 > 1:
            reached.touch()
            time.sleep(300)
        write(rows, target, **options)

    return hold


def main(store, folder):
    mlflow.set_tracking_uri(store)
    runtime.spark().table("grown").count()
    (folder / "ready").touch()
    wait_for(folder / "go")
    score(table="grown", model="models:/doubling/1", into="raced_for")
    (folder / "raced").touch()
    score(table="grown", model="models:/doubling/1", into="killed_between_parts")
    backfills._ROWS_A_PART = 4_000
    backfills.write_once = hold_between_parts(backfills.write_once, folder / "part.reached")
    stream.Batches._write = hold_before_writing(stream.Batches._write, folder / "batch.reached")
    scorings = []
    for model, into in (("doubling", "killed_before_writing"), ("holding", "killed_in_model")):
        how = {"table": "grown", "model": f"models:/{model}/1", "into": into}
        scorings.append(Thread(target=score, kwargs=how, daemon=True))
        scorings[-1].start()
    how = {"table": "grown", "model": "models:/doubling/2", "into": "killed_between_parts", "mode": "backfill"}
    scorings.append(Thread(target=score, kwargs=how, daemon=True))
    scorings[-1].start()
    wait_for(folder / "part.reached", scorings)
    wait_for(folder / "batch.reached", scorings)
    wait_for(folder / "hold.reached", scorings)
    stream.Batches._check_last = die_after_writing
    score(table="grown", model="models:/doubling/1", into="killed_after_writing")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
