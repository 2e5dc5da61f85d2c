"""How far Spark is, said while one waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adbazureml.runtime.place import on_databricks
from adbazureml.runtime.spark_session import spark

if TYPE_CHECKING:
    from pyspark import StatusTracker

_SECONDS_BETWEEN = 1.0


@contextmanager
def progress(what: str, *, seconds_between: float = _SECONDS_BETWEEN) -> Iterator[None]:
    """Keep one line up to date on how many tasks of Spark's are done, until the work inside ends.

    On Databricks the notebook itself shows Spark's progress, so nothing is said there, nor with a remote session.

    Parameters
    ----------
    what : str
        What is done, such as "Scoring features".
    seconds_between : float
        Time between two looks; what takes less is not told.
    """
    from pyspark.sql.utils import is_remote

    if on_databricks() or is_remote():
        yield
        return
    ended = threading.Event()
    tracker = spark().sparkContext.statusTracker()
    teller = threading.Thread(target=_tell, args=(what, tracker, ended, seconds_between), daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def _tell(what: str, tracker: StatusTracker, ended: threading.Event, seconds_between: float) -> None:
    started, said = time.monotonic(), ""
    while not ended.wait(seconds_between):
        stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
        tasks, done = (sum(getattr(one, name) for one in stages if one) for name in ("numTasks", "numCompletedTasks"))
        text = f"{what}: {done} of {tasks} tasks, {time.monotonic() - started:.0f} s" if tasks else said
        print(f"\r{text.ljust(len(said))}", end="", flush=True)
        said = text
    if said:
        print(flush=True)
