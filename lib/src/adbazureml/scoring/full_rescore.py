"""Score all rows of a table again: one transaction that replaces the rows of a model version."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.errors import ScoringError
from adbazureml.scoring.library_versions import explain_failed_batch
from adbazureml.scoring.predictions_table import TargetTables, kept_once, rows_marked, write_once
from adbazureml.scoring.write_conflicts import repeat_on_conflict

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from adbazureml.scoring.exactly_once import Checkpoint


def rescore(
    result: DataFrame, targets: TargetTables, model_uri: str, *, source: str, checkpoint: Checkpoint | None
) -> tuple[int, int]:
    """Write all rows of a model version, and count them.

    Parameters
    ----------
    result : pyspark DataFrame
        The rows with their predictions.
    targets : Targets
    model_uri : str
    source : str
        The table's name, as it stands in messages.
    checkpoint : Checkpoint or None
        What incremental scoring goes on from; its number leads in the transaction.

    Returns
    -------
    tuple of int
        Rows scored, and rejected.

    Raises
    ------
    ScoringError
        The model failed on a row, or another job began to score in full later and was faster.
    """
    from pyspark.errors import PySparkException

    started = time.time()
    key, version = (checkpoint.key, checkpoint.rescore) if checkpoint is not None else ("", 0)
    mark = f"{_mark(checkpoint, model_uri)}{uuid.uuid4().hex}"
    counts = {targets.rejected_into: 0}
    try:
        with runtime.progress(f"Scoring {source}"), kept_once(result, targets) as kept:
            for target, part in targets.parts(kept):
                repeat_on_conflict(
                    lambda part=part, target=target: write_once(  # type: ignore[misc]
                        part, target, application=key, version=version, mark=mark, replacing=model_uri
                    )
                )
                written = rows_marked(target, mark, since=started)
                if written is None and checkpoint is not None:
                    # Another process did the same, and was killed or was faster.
                    written = rows_marked(target, _mark(checkpoint, model_uri), since=0)
                if written is None:
                    raise ScoringError(
                        f"Another job began to score {source} into {target} in full after this one, so this one's rows "
                        "were left out. Score again."
                    )
                counts[target] = written
    except PySparkException as error:
        raise ScoringError(explain_failed_batch(error, model_uri, into=targets.into)) from error
    if checkpoint is not None:
        checkpoint.mark_scored()
    return counts[targets.into], counts[targets.rejected_into]


def is_rescored(checkpoint: Checkpoint, targets: TargetTables) -> bool:
    """Whether a process that then was killed did the rescore of a checkpoint, for whatever model version."""
    done = rows_marked(targets.into, f"{checkpoint.key}:{checkpoint.number}:", since=0) is not None
    if done:
        checkpoint.mark_scored()
    return done


def _mark(checkpoint: Checkpoint | None, model_uri: str) -> str:
    return f"{checkpoint.key}:{checkpoint.number}:{model_uri}:" if checkpoint is not None else ""
