"""Score what a Delta table got since last time, exactly once: Structured Streaming into idempotent Delta writes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.errors import AdbAzureMLError, ScoringError, TableError
from adbazureml.scoring.changes import NOT_UNIQUE, Changes
from adbazureml.scoring.checkpoints import Checkpoint
from adbazureml.scoring.conflicts import is_conflict, repeat_on_conflict
from adbazureml.scoring.source import reason
from adbazureml.scoring.target import Targets

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming import StreamingQuery

# Commits of other writers that may have come since a batch's own.
_COMMITS_LOOKED_AT = 20

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
    rows, refused : int
        Rows scored, and refused by the model, so far.
    fenced_off : bool
        Whether a batch was left out: another process wrote it, or began a later checkpoint.
    error : Exception or None
        What stopped a batch, as this process raised it.
    """

    targets: Targets
    model_uri: str
    checkpoint: Checkpoint
    changes: Changes | None = None
    rows: int = 0
    refused: int = 0
    fenced_off: bool = False
    error: Exception | None = None
    _mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    _last: str = ""

    def __call__(self, batch: DataFrame, number: int) -> None:
        """Write one micro-batch; Delta leaves out a batch whose transaction the table already holds."""
        latest = self.changes.latest(batch) if self.changes else None
        rows = self.changes.scored(latest) if self.changes and latest is not None else batch
        # The model is to run once, although two tables take its outcome, or a merge reads it twice.
        kept = rows.persist() if latest is not None or self.targets.refused_into else None
        replace = self.checkpoint.replaces and number == 0
        version = self.checkpoint.transaction(number)
        try:
            for target, part in self.targets.parts(kept or rows):
                if latest is None or replace:
                    self._write(target, part, version, replace=replace)
                else:
                    self._merge(target, latest, part, version)
                written = self._rows_of_last_write(target)
                self.fenced_off |= not written
                if target == self.targets.into:
                    self.rows += sum(written)
                else:
                    self.refused += sum(written)
        except Exception as error:
            self.error = error
            raise
        finally:
            if kept is not None:
                kept.unpersist()

    def fence(self) -> None:
        """Shut out jobs that still write for an earlier checkpoint."""
        for target in filter(None, (self.targets.refused_into, self.targets.into)):
            self._write(target, runtime.spark().table(target).limit(0), self.checkpoint.fence, replace=False)

    def _write(self, target: str, frame: DataFrame, version: int, *, replace: bool) -> None:
        writer = (
            frame.write.format("delta")
            .option("txnAppId", self.checkpoint.key)
            .option("txnVersion", version)
            .option("userMetadata", f"{self._mark}:{version}")
        )
        if replace:
            writer = writer.mode("overwrite").option("replaceWhere", f"model_uri = '{self.model_uri}'")
        else:
            writer = writer.mode("append")
        writer.saveAsTable(target)
        self._last = f"{self._mark}:{version}"

    def _merge(self, target: str, latest: DataFrame, part: DataFrame, version: int) -> None:
        assert self.changes is not None
        self._last = f"{self._mark}:{version}"
        # A batch has a Spark session of its own, so that no other query sees these.
        configuration = latest.sparkSession.conf
        configuration.set("spark.databricks.delta.write.txnAppId", self.checkpoint.key)
        configuration.set("spark.databricks.delta.write.txnVersion", str(version))
        configuration.set("spark.databricks.delta.commitInfo.userMetadata", self._last)
        self.changes.merge(target, latest, part)

    def _rows_of_last_write(self, target: str) -> list[int]:
        """Rows of the commit, if there was one."""
        history = runtime.spark().sql(f"DESCRIBE HISTORY {target} LIMIT {_COMMITS_LOOKED_AT}")
        commits = history.where(f"userMetadata = '{self._last}'").select("operationMetrics").collect()
        counted = [commit["operationMetrics"] for commit in commits]
        # A merge also writes rows anew that it leaves as they are.
        return [int(metrics.get("numTargetRowsInserted", metrics["numOutputRows"])) for metrics in counted]


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
        repeat_on_conflict(run)
    except Exception as error:
        raise meaning(error, batches, source=source) from error
    if batches.checkpoint.replaces and batches.fenced_off:
        raise ScoringError(
            f"Another job began to score {source} into {batches.targets.into} in full after this one, so this one's "
            "rows were left out. Score again."
        )


def start(rows: DataFrame, batches: Batches, *, to_the_end: bool) -> StreamingQuery:
    """Start the query; `rows` is a streaming frame with its predictions."""
    if batches.checkpoint.number > 1 and not batches.checkpoint.begun:
        batches.fence()
    writer = rows.writeStream.option("checkpointLocation", str(batches.checkpoint.folder)).foreachBatch(batches)
    return (writer.trigger(availableNow=True) if to_the_end else writer).start()


def meaning(error: Exception, batches: Batches, *, source: str) -> AdbAzureMLError:
    """Say in this project's terms what stopped a query."""
    into, folder = batches.targets.into, batches.checkpoint.folder
    if is_conflict(batches.error or error):
        return ScoringError(f"Another job scores {source} into {into} and does not end; stop it, or wait for it.")
    if batches.error is not None and NOT_UNIQUE in (cause := reason(batches.error)):
        return TableError(f"key_columns: {cause}. Name columns that no two rows of {source} share.")
    if batches.error is not None:
        cause = reason(batches.error)
        return ScoringError(
            f"Scoring into {into} failed, its rows are as before: {cause}. Correct this and score again."
        )
    said = str(error)
    for sign, change in _SOURCE_ERRORS.items():
        if sign in said:
            return TableError(
                f"scoring_table: {source} can't be followed further, since {change}. Score once with scoring_mode "
                "'full': that replaces the predictions of this model version and goes on from there."
            )
    return ScoringError(
        f"Scoring {source} stopped with its rows in {into} as before: {reason(error)}. If it is the checkpoint "
        f"{folder} that is damaged, score once with scoring_mode 'full': that replaces the predictions of this model "
        "version and begins a new one."
    )
