"""Score the rows that a model version has no prediction of, in parts: each is a transaction, so that a kill costs one.

Which rows these are is told by comparing the table with the predictions, row by row and as often as each comes. A part
is the rows whose hash falls into it, so that the parts of both are compared with each other alone.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.errors import ScoringError
from adbazureml.scoring.library_versions import explain_failed_batch
from adbazureml.scoring.predictions_table import TargetTables, kept_once, rows_marked, write_once
from adbazureml.scoring.write_conflicts import repeat_on_conflict
from adbazureml.text import identifier

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from adbazureml.scoring.exactly_once import Checkpoint

_ROWS_A_PART = 1_000_000


def unscored(rows: DataFrame, kept: Sequence[str], targets: TargetTables, model_uri: str) -> DataFrame:
    """The rows, of the columns that are written, that a model version has neither predicted nor rejected.

    Rows that are alike in all these columns stand for one another, so the model's inputs must be among them.
    """
    from pyspark.sql import functions

    columns = [functions.col(identifier(name)) for name in kept]
    found = rows.select(columns)
    for target in targets.all:
        found = found.exceptAll(runtime.table(target).where(functions.col("model_uri") == model_uri).select(columns))
    return found


def parts_of(rows: int) -> int:
    """In how many parts so many rows are scored."""
    return max(1, ceil(rows / _ROWS_A_PART))


def backfill(
    rows: DataFrame,
    kept: Sequence[str],
    predictions: Callable[[DataFrame], DataFrame],
    targets: TargetTables,
    *,
    source: str,
    checkpoint: Checkpoint,
) -> tuple[int, int]:
    """Write what a model version lacks, part by part, and count it; goes on where an earlier call was killed.

    Parameters
    ----------
    rows : pyspark DataFrame
        What the table held at the checkpoint's version.
    kept : sequence of str
        The columns to write beside the predictions; the model's inputs are among them.
    predictions : callable
        Adds predictions to rows and leaves the columns to write.
    targets : TargetTables
    source : str
        The table's name, as it stands in messages.
    checkpoint : Checkpoint
        Notes the model version and the number of parts.

    Returns
    -------
    tuple of int
        Rows scored, and rejected, by this call.

    Raises
    ------
    ScoringError
        The model failed on a row, or another job began to score in full or to backfill later.
    """
    from pyspark.errors import PySparkException
    from pyspark.sql import functions

    started, mark = time.time(), f"{checkpoint.key}:backfill:{checkpoint.number}:{uuid.uuid4().hex}"
    model_uri, parts = checkpoint.backfill
    part_of = functions.pmod(functions.xxhash64(*map(identifier, kept)), functions.lit(parts))
    try:
        with runtime.progress(f"Scoring {source}"):
            for part in range(parts):
                # Read anew for each, so that what another process of the same backfill wrote is left out.
                lacking = unscored(rows, kept, targets, model_uri).where(part_of == part)
                with kept_once(predictions(lacking), targets) as scored:
                    for target, those in targets.parts(scored):
                        write = partial(write_once, those, target, application=checkpoint.key, mark=mark)
                        repeat_on_conflict(partial(write, version=checkpoint.part(part)))
                if not checkpoint.is_last:
                    raise ScoringError(
                        f"Another job began to score {source} into {targets.into} after this one, so this one's rows "
                        "may have been left out. Score again, to go on from there."
                    )
    except PySparkException as error:
        raise ScoringError(explain_failed_batch(error, model_uri, into=targets.into)) from error
    checkpoint.mark_scored()
    counts = {target: rows_marked(target, mark, since=started) or 0 for target in targets.all}
    return counts[targets.into], counts.get(targets.rejected_into, 0)
