"""Score a table into a Delta table: what is new in it, all of it, or as it grows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, overload

from adbazureml import runtime
from adbazureml.errors import ScoringError, TableError
from adbazureml.scoring.changes import Changes, check_keys
from adbazureml.scoring.checkpoints import checkpoint_for
from adbazureml.scoring.model import ModelSource, find_model, prepare
from adbazureml.scoring.scored import Scored, ScoringStream
from adbazureml.scoring.source import check_not_empty, find_columns, quoted, reason, shown, source_rows
from adbazureml.scoring.stream import Batches, run_to_the_end, start
from adbazureml.scoring.target import Targets, detail_of, make_target

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from adbazureml.uris import ModelURI

Mode = Literal["incremental", "full", "stream"]
_WRITTEN_BESIDE = ("model_name", "model_version", "model_uri", "scored_at")
_REFUSED = "refused"


@overload
def score(
    *,
    table: str | DataFrame,
    where: str | None = ...,
    model: ModelURI,
    columns: Sequence[str] | None = ...,
    keep: Sequence[str] | None = ...,
    target_column: str = ...,
    into: str,
    mode: Literal["incremental", "full"] = ...,
    checkpoints: str = ...,
    refused_into: str = ...,
    keys: Sequence[str] = ...,
) -> Scored: ...
@overload
def score(
    *,
    table: str | DataFrame,
    where: str | None = ...,
    model: ModelURI,
    columns: Sequence[str] | None = ...,
    keep: Sequence[str] | None = ...,
    target_column: str = ...,
    into: str,
    mode: Literal["stream"],
    checkpoints: str = ...,
    refused_into: str = ...,
    keys: Sequence[str] = ...,
) -> ScoringStream: ...
def score(
    *,
    table: str | DataFrame,
    where: str | None = None,
    model: ModelURI,
    columns: Sequence[str] | None = None,
    keep: Sequence[str] | None = None,
    target_column: str = "prediction",
    into: str,
    mode: Mode = "incremental",
    checkpoints: str = "",
    refused_into: str = "",
    keys: Sequence[str] = (),
) -> Scored | ScoringStream:
    """Score the rows of a table and keep the predictions in a Delta table, each row once.

    Parameters
    ----------
    table : str or pyspark DataFrame
        The rows; for other modes than full the name of a Delta table.
    where : str, optional
        SQL condition that they must meet.
    model : str or RegisteredVersion
        MLflow URI, see `predict`. An alias is resolved once; the version it stands for is what is written down.
    columns : sequence of str, optional
        The model's inputs in its signature's order. By default the columns named in the signature.
    keep : sequence of str, optional
        Columns of the rows to write beside the predictions; all by default.
    target_column : str
        The column that takes the predictions.
    into : str
        The Delta table to write, made where there is none. It gets the kept columns, `target_column`,
        ``model_name``, ``model_version``, ``model_uri`` and ``scored_at``.
    mode : "incremental", "full" or "stream"
        Incremental: the rows that the table got since the model of this name last scored it into `into`, all of them
        the first time. A new version of the model goes on where the last one stopped. Stream: the same, and goes on
        running. Full: all rows again; those that `into` holds for this model version are replaced in one transaction,
        those of other versions stay beside them. Incremental scoring then goes on from there.

        Whatever is killed in between, no row is lost or doubled: a checkpoint keeps what was read, and Delta takes
        each batch's transaction once. Rows of a DataFrame, a view or a table of another format can be scored in full
        mode only, where doing it again replaces the rows.
    checkpoints : str
        Folder of the checkpoints, on Databricks in a Unity Catalog volume. Empty: in the local stand-ins' folder.
    refused_into : str
        The Delta table that takes the rows which the model fails on, with the reason in ``refused`` instead of a
        prediction; exactly once as well. Empty: one such row fails the call.
    keys : sequence of str
        Columns that tell the rows of the table apart. With them rows may change: a row that was updated is scored anew
        in the place of what this model, in whatever version, predicted for it, and the predictions of one that was
        deleted go. The table's property ``delta.enableChangeDataFeed`` must be on. Without them, a table whose rows
        were changed is refused.

    Returns
    -------
    Scored
        Of a stream `ScoringStream`.

    Raises
    ------
    TableError
        The table, the condition, a column or `into` is not what scoring needs, or the table was changed in a way that
        incremental scoring can't follow; nothing was written.
    ScoringError
        The model can't be found or loaded, it failed on a row, or the checkpoint is damaged; no row was written twice.
    SettingsError
        `checkpoints` can't be used.
    """
    started = time.monotonic()
    rows = source_rows(table, where)
    own = (*_WRITTEN_BESIDE, _REFUSED) if refused_into else _WRITTEN_BESIDE
    taken = [name for name in rows.columns if name.lower() in own]
    if taken or target_column.lower() in own:
        raise TableError(
            f"{'scoring_table' if taken else 'target_column'}: {', '.join(taken) or target_column} is a column that "
            "scoring writes itself; rename it."
        )
    source = find_model(model)
    kept = find_columns(rows, keep, asked_by="keep=") if keep is not None else rows.columns

    def predictions(frame: DataFrame) -> DataFrame:
        refused = _REFUSED if refused_into else None
        scored = prepare(frame, source=source, columns=columns, target_column=target_column, refused_column=refused)
        made = [target_column, _REFUSED] if refused_into else [target_column]
        return _with_origin(scored.select(*map(quoted, [*kept, *made])), source)

    detail = detail_of(table) if isinstance(table, str) else None
    delta_table = detail["name"] if detail is not None and detail["format"] == "delta" else None
    if mode != "full" and delta_table is None:
        raise TableError(
            f"scoring_table: {shown(table)} is not a Delta table, so what is new in it can't be told; score it with "
            "scoring_mode 'full'."
        )
    changes = None
    if keys and delta_table is not None:
        changes = Changes(delta_table, check_keys(keys, rows, kept, detail), where, source.name, predictions)
    result = predictions(rows if delta_table is None or changes else _stream_of(delta_table, where))
    targets = Targets(into, target_column, refused_into, _REFUSED)
    missing = targets.check(result, detail)
    if mode == "full":
        check_not_empty(rows, table, where)
    for target, schema in missing.items():
        make_target(target, schema)
    if delta_table is None:
        written, refused = _replace(result, targets, source.uri)
        return Scored(
            shown(table), into, target_column, source.uri, written, time.monotonic() - started, refused, refused_into
        )
    checkpoint = checkpoint_for(
        source=delta_table,
        where=where,
        model_name=source.name,
        into=into,
        root=checkpoints,
        anew=mode == "full",
    )
    batches = Batches(targets, source.uri, checkpoint, changes)
    stream = changes.read() if changes else result
    if mode == "stream":
        query = start(stream, batches, to_the_end=False)
        return ScoringStream(shown(table), into, source.uri, query, batches)
    run_to_the_end(stream, batches, source=shown(table))
    return Scored(
        shown(table),
        into,
        target_column,
        source.uri,
        batches.rows,
        time.monotonic() - started,
        batches.refused,
        refused_into,
    )


def _stream_of(table: str, where: str | None) -> DataFrame:
    from pyspark.sql import functions

    # One batch for all that is there: a full rescore is then one transaction.
    rows = runtime.spark().readStream.option("maxFilesPerTrigger", 2**31 - 1).table(table)
    return rows if where is None else rows.where(functions.expr(where))


def _with_origin(frame: DataFrame, source: ModelSource) -> DataFrame:
    from pyspark.sql import functions

    given = (source.name, source.version, source.uri)
    values = (*(functions.lit(text) for text in given), functions.current_timestamp())
    return frame.withColumns(dict(zip(_WRITTEN_BESIDE, values, strict=True)))


def _replace(result: DataFrame, targets: Targets, model_uri: str) -> tuple[int, int]:
    """Write all rows of a model version, a transaction a table, and count them: scored and refused."""
    from pyspark.errors import PySparkException
    from pyspark.sql import functions

    counts = {targets.into: 0, targets.refused_into: 0}
    try:
        for target, rows in targets.parts(result):
            rows.writeTo(target).overwrite(functions.col("model_uri") == model_uri)
            counts[target] = runtime.spark().table(target).where(functions.col("model_uri") == model_uri).count()
    except PySparkException as error:
        raise ScoringError(
            f"Scoring into {targets.into} failed, its rows are as before: {reason(error)}. Correct this and score "
            "again."
        ) from error
    return counts[targets.into], counts[targets.refused_into] if targets.refused_into else 0
