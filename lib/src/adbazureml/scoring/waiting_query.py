"""A stream that begins behind the newest version of a table: Delta starts none before that version is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from adbazureml.scoring.write_conflicts import repeat_on_conflict

if TYPE_CHECKING:
    from pyspark.sql.streaming import StreamingQuery

_POLL_SECONDS = 1.0


class WaitingQuery:
    """Starts a query as soon as it can begin; until then, a running query that has seen nothing.

    Parameters
    ----------
    start : callable
        Starts it; called again where another job is in the way, or the machine too busy.
    is_due : callable
        Tells whether it can begin.
    """

    def __init__(self, start: Callable[[], StreamingQuery], is_due: Callable[[], bool]) -> None:
        self._start = start
        self._is_due = is_due
        self._query: StreamingQuery | None = None
        self._error: Exception | None = None
        self._stopping = threading.Event()
        self._decided = threading.Event()
        threading.Thread(target=self._wait, name="adbazureml-score", daemon=True).start()

    @property
    def isActive(self) -> bool:  # noqa: N802
        """As of Spark's query."""
        # Asked in this order: the query may begin in between.
        return not self._decided.is_set() or (self._query is not None and self._query.isActive)

    @property
    def lastProgress(self) -> Any:  # noqa: N802
        """As of Spark's query."""
        return self._query.lastProgress if self._query is not None else None

    def processAllAvailable(self) -> None:  # noqa: N802
        """As of Spark's query."""
        if self._query is None and not self._is_due():
            return
        self._decided.wait()
        if (query := self._begun()) is not None:
            query.processAllAvailable()

    def awaitTermination(self, timeout: float | None = None) -> None:  # noqa: N802
        """As of Spark's query."""
        until = None if timeout is None else time.monotonic() + timeout
        if self._decided.wait(timeout) and (query := self._begun()) is not None:
            query.awaitTermination(None if until is None else max(1, int(until - time.monotonic())))

    def stop(self) -> None:
        """As of Spark's query."""
        self._stopping.set()
        self._decided.wait()
        if self._query is not None:
            self._query.stop()

    def _begun(self) -> StreamingQuery | None:
        if self._error is not None:
            raise self._error
        return self._query

    def _wait(self) -> None:
        try:
            while not self._is_due():
                if self._stopping.wait(_POLL_SECONDS):
                    return
            self._query = repeat_on_conflict(self._start)
        except Exception as error:
            self._error = error
        finally:
            self._decided.set()
