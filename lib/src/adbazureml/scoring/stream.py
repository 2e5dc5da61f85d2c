"""Score what a Delta table got since last time, exactly once: Structured Streaming into idempotent Delta writes."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.errors import AdbAzureMLError, ScoringError, TableError
from adbazureml.scoring.change_feed import NOT_UNIQUE, Changes
from adbazureml.scoring.exactly_once import Checkpoint
from adbazureml.scoring.library_versions import explain_failed_batch
from adbazureml.scoring.predictions_table import TargetTables, kept_once, rows_marked, write_once
from adbazureml.scoring.source_table import explain_error
from adbazureml.scoring.write_conflicts import is_conflict, repeat_on_conflict

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming import StreamingQuery

# What Delta's streaming source says, and what it means here.
_SOURCE_ERRORS = {
    "DELTA_SOURCE_TABLE_IGNORE_CHANGES": "rows of it were changed",
    "DELTA_SOURCE_IGNORE_DELETE": "rows of it were deleted",
    "DIFFERENT_DELTA_TABLE_READ_BY_STREAMING_SOURCE": "it was replaced by another table of that name",
    "DELTA_MISSING_CHANGE_DATA": "it did not record how its rows changed at that time",
    "SCHEMA_CHANGE": "columns of it were dropped, renamed or changed their type",
}


@dataclass
class Batches:
    """Writes micro-batches into the target, each at most once.

    Attributes
    ----------
    targets : Targets
    model_uri : str
        The model version whose rows these are.
    checkpoint : Checkpoint
        Where the stream remembers how far it is.
    changes : Changes or None
        How the batches are changes of rows; None where they are new rows with their predictions.
    error : Exception or None
        What stopped a batch, as this process raised it; with Spark Connect another process runs the batches.
    """

    targets: TargetTables
    model_uri: str
    checkpoint: Checkpoint
    changes: Changes | None = None
    error: Exception | None = None
    _mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    _started: float = field(default_factory=time.time)

    def __call__(self, batch: DataFrame, number: int) -> None:
        """Write one micro-batch; Delta leaves out a batch whose transaction the table already holds."""
        try:
            self._write(batch, self.checkpoint.batch(number))
            self._check_last()
        except Exception as error:
            self.error = error
            raise

    def count(self) -> tuple[int, int]:
        """Rows scored, and rejected by the model, so far."""
        counted = {target: rows_marked(target, self._mark, since=self._started) or 0 for target in self.targets.all}
        return counted[self.targets.into], counted.get(self.targets.rejected_into, 0)

    def _check_last(self) -> None:
        # The rows may have been left out, and what began later reads them.
        if not self.checkpoint.is_last:
            raise ScoringError(
                f"Another job began to score {self.checkpoint.source} into {self.targets.into} in full. Score again, "
                "to go on from there."
            )

    def _write(self, batch: DataFrame, version: int) -> None:
        mark = f"{self._mark}:{version}"
        if self.changes is None:
            with kept_once(batch, self.targets) as rows:
                for target, part in self.targets.parts(rows):
                    write_once(part, target, application=self.checkpoint.key, version=version, mark=mark)
            return
        latest = self.changes.latest(batch)
        # A batch has a Spark session of its own, so that no other query sees these.
        configuration = batch.sparkSession.conf
        configuration.set("spark.databricks.delta.write.txnAppId", self.checkpoint.key)
        configuration.set("spark.databricks.delta.write.txnVersion", str(version))
        configuration.set("spark.databricks.delta.commitInfo.userMetadata", mark)
        with kept_once(self.changes.scored(latest), self.targets, merging=True) as rows:
            for target, part in self.targets.parts(rows):
                self.changes.merge(target, latest, part)


def run_to_the_end(rows: DataFrame, batches: Batches, *, source: str) -> None:
    """Score all that the source holds now and the checkpoint has not seen.

    Where another job goes on from the same checkpoint at the same time, one of them waits, and finds less to do.

    Raises
    ------
    TableError
        The source was changed in a way that a stream can't follow.
    ScoringError
        The model failed on a row, the checkpoint is damaged, or another job does not end.
    """
    from pyspark.errors import PySparkException

    def run() -> None:
        batches.error = None
        query = start(rows, batches, to_the_end=True)
        try:
            query.awaitTermination()
        except PySparkException as error:
            raise batches.error or error from None
        finally:
            query.stop()

    try:
        with runtime.progress(f"Scoring {source}"):
            repeat_on_conflict(run)
    except Exception as error:
        raise explain_stream_error(error, batches, source=source) from error


def start(rows: DataFrame, batches: Batches, *, to_the_end: bool) -> StreamingQuery:
    """Start the query; `rows` is a streaming frame with its predictions."""
    writer = rows.writeStream.option("checkpointLocation", str(batches.checkpoint.folder)).foreachBatch(batches)
    return (writer.trigger(availableNow=True) if to_the_end else writer).start()


def explain_stream_error(error: Exception, batches: Batches, *, source: str) -> AdbAzureMLError:
    """Say in this project's terms what stopped a query."""
    into, folder = batches.targets.into, batches.checkpoint.folder
    if isinstance(batches.error, AdbAzureMLError):
        return batches.error
    if is_conflict(batches.error or error):
        return ScoringError(f"Another job scores {source} into {into} and does not end; stop it, or wait for it.")
    if batches.error is not None and NOT_UNIQUE in (cause := explain_error(batches.error)):
        return TableError(f"keys: {cause}. Name columns that no two rows of {source} share.")
    if batches.error is not None:
        return ScoringError(explain_failed_batch(batches.error, batches.model_uri, into=into))
    said = str(error)
    for sign, change in _SOURCE_ERRORS.items():
        if sign in said:
            return TableError(
                f"table: {source} can't be followed further, since {change}. Score once with mode "
                "'full': that replaces the predictions of this model version and goes on from there."
            )
    return ScoringError(
        f"Scoring {source} stopped with its rows in {into} as before: {explain_error(error)}. If it is the checkpoint "
        f"{folder} that is damaged, score once with mode 'full': that replaces the predictions of this model "
        "version and begins a new one."
    )
