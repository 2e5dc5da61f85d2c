"""Score a table into a Delta table: what is new in it, all of it, or as it grows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args, overload

from adbazureml import runtime
from adbazureml.errors import SettingsError, TableError
from adbazureml.scoring.backfill import backfill, parts_of, unscored
from adbazureml.scoring.change_feed import Changes, check_keys, stream_options
from adbazureml.scoring.engine import ChosenEngine, Engine, check_engine, choose_engine
from adbazureml.scoring.exactly_once import Checkpoint, Checkpoints
from adbazureml.scoring.full_rescore import is_rescored, rescore
from adbazureml.scoring.predictions_table import MODEL_COLUMNS, TargetTables, adapt, detail_of, is_view, version_of
from adbazureml.scoring.result import ScoringResult, ScoringStream
from adbazureml.scoring.scoring_model import ModelSource, chosen_columns, find_model, inputs_for_sql, prepare
from adbazureml.scoring.signature import inputs
from adbazureml.scoring.source_table import explain_error, find_columns, is_empty, select_rows, shown
from adbazureml.scoring.stream import Batches, run_to_the_end, start
from adbazureml.scoring.waiting_query import WaitingQuery
from adbazureml.text import identifier

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row
    from pyspark.sql.types import StructType

    from adbazureml.registry.model_uri import ModelURI

Mode = Literal["incremental", "full", "stream", "backfill"]
_WRITTEN_BESIDE = (*MODEL_COLUMNS, "scored_at")
_REJECTED = "rejected"


@overload
def score(
    *,
    table: str | DataFrame,
    where: str | None = ...,
    model: ModelURI,
    columns: Sequence[str] | None = ...,
    keep: Sequence[str] | None = ...,
    target_column: str = ...,
    probability_column: str = ...,
    into: str,
    mode: Literal["incremental", "full", "backfill"] = ...,
    checkpoints: str = ...,
    rejected_into: str = ...,
    keys: Sequence[str] = ...,
    engine: Engine = ...,
) -> ScoringResult: ...
@overload
def score(
    *,
    table: str | DataFrame,
    where: str | None = ...,
    model: ModelURI,
    columns: Sequence[str] | None = ...,
    keep: Sequence[str] | None = ...,
    target_column: str = ...,
    probability_column: str = ...,
    into: str,
    mode: Literal["stream"],
    checkpoints: str = ...,
    rejected_into: str = ...,
    keys: Sequence[str] = ...,
    engine: Engine = ...,
) -> ScoringStream: ...
def score(
    *,
    table: str | DataFrame,
    where: str | None = None,
    model: ModelURI,
    columns: Sequence[str] | None = None,
    keep: Sequence[str] | None = None,
    target_column: str = "prediction",
    probability_column: str = "",
    into: str,
    mode: Mode = "incremental",
    checkpoints: str = "",
    rejected_into: str = "",
    keys: Sequence[str] = (),
    engine: Engine = "auto",
) -> ScoringResult | ScoringStream:
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
    probability_column : str
        The column that takes a classifier's probabilities, a map from each class as text. Empty: none.
    into : str
        The Delta table to write, made where there is none. It gets the kept columns, `target_column`,
        `probability_column`, ``model_name``, ``model_version`` (null where the URI names none), ``model_uri`` and
        ``scored_at``. Where the rows got columns or wider types since, it follows: older rows hold null there.
    mode : "incremental", "full", "stream" or "backfill"
        Incremental: the rows that the table got since the model of this name last scored it into `into`, all of them
        the first time. A new version of the model goes on where the last one stopped. Stream: the same, and goes on
        running. Full: all rows again; those that `into` holds for this model version are replaced in one transaction,
        those of other versions stay beside them. Incremental scoring then goes on from there. Backfill: the rows that
        this model version has neither predicted nor rejected, because another version did or none, in parts of about a
        million rows; after a kill the same call goes on with the next part. Its inputs must be among the columns that
        are kept, by which it is told which rows these are. In every mode it is no
        error when there is nothing to score: `into` is made where it is missing, and otherwise stays as it is.

        Whatever is killed in between, no row is lost or doubled: a checkpoint keeps what was read, and Delta takes
        each batch's transaction once. Rows of a DataFrame, a view or a table of another format can be scored in full
        mode only, where doing it again replaces the rows.
    checkpoints : str
        Folder of the checkpoints, on Databricks in a Unity Catalog volume. Empty: in the folder of the local backends.
    rejected_into : str
        The Delta table that takes the rows which the model fails on, with the reason in ``rejected`` instead of a
        prediction; exactly once as well. Empty: one such row fails the call. What is no row's fault fails it in any
        case: a missing module, the network, memory, a lost worker, or an error that the model now also gives for a row
        that it took before or for its input example.
    keys : sequence of str
        Columns that tell the rows of the table apart. With them rows may change: a row that was updated is scored anew
        in the place of what this model, in whatever version, predicted for it, and the predictions of one that was
        deleted go. The table's property ``delta.enableChangeDataFeed`` must be on. Without them, a table whose rows
        were changed is rejected.
    engine : "auto", "sql" or "python"
        What predicts. SQL: Spark itself, for scikit-learn's linear models and the scalers, encoders and imputers before
        them, several times faster. Python: the model in Spark's workers. Auto: SQL where every step of the model has a
        translation and both agree on up to 200 of these rows, to 1e-9 and in every class; otherwise Python. The result
        says which it was and why. A Spark ML model runs on Spark in any case.

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
        The model can't be found or loaded, it failed on a row, the checkpoint is damaged, or `engine` is ``sql`` and
        the model has no translation; no row was written twice.
    EnvironmentNotReadyError
        A Spark ML model passes through a volume here, and none is beside `into`.
    SettingsError
        `mode` or `engine` is none of these, `checkpoints` can't be used, or serverless compute is asked for a stream
        or for `keys`.
    """
    started = time.monotonic()
    _check_mode(mode, keys)
    check_engine(engine)
    where = (where or "").strip() or None
    rows = select_rows(table, where)
    _check_names(rows, table, (target_column, probability_column), rejected_into)
    source = _model_for(into, model, probabilities=bool(probability_column))
    kept = find_columns(rows, keep, asked_by="keep=") if keep is not None else rows.columns
    chosen = _engine(engine, rows, source, columns)

    def predictions(frame: DataFrame) -> DataFrame:
        rejected = _REJECTED if rejected_into else ""
        names = {"target_column": target_column, "probability_column": probability_column, "rejected_column": rejected}
        scored = prepare(frame, source=source, columns=columns, sql=chosen.sql, **names)
        made = [name for name in names.values() if name]
        return _with_origin(scored.select(*map(identifier, [*kept, *made])), source)

    delta_table, detail = _delta_table(table, mode)
    changes = (
        Changes(delta_table, check_keys(keys, rows, kept, detail), where, source.name, predictions)
        if keys and delta_table is not None
        else None
    )
    given = tuple(name for name in (target_column, probability_column) if name)
    targets = TargetTables(into, given, rejected_into, _REJECTED)
    result = predictions(rows)
    unfit = targets.check(result, detail)
    empty = mode == "full" and is_empty(rows, table, where)
    _adapt(unfit)

    def scored(counts: tuple[int, int]) -> ScoringResult:
        written, rejected = counts
        seconds = time.monotonic() - started
        return ScoringResult(
            shown(table), into, target_column, source.uri, written, seconds, rejected, rejected_into, str(chosen)
        )

    if empty:
        return scored((0, 0))
    if detail is None or delta_table is None:
        return scored(rescore(result, targets, source.uri, source=shown(table), checkpoint=None))
    checkpoints_here = Checkpoints(detail, where, source.name, targets, checkpoints)
    told = _Told(shown(table), rows, kept, columns, targets, source)
    checkpoint = _checkpoint(mode, checkpoints_here, told)
    done = 0, 0
    if checkpoint is not None and checkpoint.base is not None and checkpoint.lacks_rescore:
        done = _from_the_start(
            told,
            checkpoint,
            table=delta_table,
            where=where,
            predictions=predictions,
            changes=changes,
            sure=mode == "full",
        )
    if checkpoint is None or mode in {"full", "backfill"}:
        return scored(done)
    base = checkpoint.base
    batches = Batches(targets, source.uri, checkpoint, changes)
    stream = changes.read(base) if changes else predictions(_stream_of(delta_table, base, where))

    def is_due() -> bool:
        return base is None or checkpoint.begun or version_of(delta_table) > base

    if mode == "stream":
        query = WaitingQuery(lambda: start(stream, batches, to_the_end=False), is_due)
        return ScoringStream(shown(table), into, source.uri, query, batches)
    if is_due():
        run_to_the_end(stream, batches, source=shown(table))
        counts = batches.count()
        done = done[0] + counts[0], done[1] + counts[1]
    return scored(done)


def _engine(engine: Engine, rows: DataFrame, source: ModelSource, columns: Sequence[str] | None) -> ChosenEngine:
    given = inputs_for_sql(rows, source, columns)
    return choose_engine(engine, rows, given, source.info, source.uri, probabilities=source.probabilities)


def _adapt(unfit: Mapping[str, StructType]) -> None:
    for target, schema in unfit.items():
        adapt(target, schema)


def _delta_table(table: str | DataFrame, mode: Mode) -> tuple[str | None, Row | None]:
    """The table's name and its description where it is a Delta table; nothing of what only full mode can score.

    Raises
    ------
    TableError
        In any other mode than full it is none.
    """
    name = table if isinstance(table, str) else None
    detail = detail_of(name) if name is not None else None
    if detail is not None and detail["format"] == "delta":
        return name, detail
    if mode != "full":
        what = "a view" if name is not None and is_view(name) else "not a Delta table"
        raise TableError(
            f"table: {shown(table)} is {what}, so what is new in it can't be told; score the Delta table behind it, "
            "with where= for its condition, or this with mode 'full'."
        )
    return None, detail


@dataclass(frozen=True)
class _Told:
    """How a backfill tells which rows have no prediction: by the columns to write, which hold the model's inputs."""

    table: str
    rows: DataFrame
    kept: Sequence[str]
    columns: Sequence[str] | None
    targets: TargetTables
    source: ModelSource

    def check(self) -> None:
        names, specs = inputs(self.source.info)
        taken = chosen_columns(self.rows, self.columns, names, specs, self.source.uri)
        if missing := [name for name in taken if name and name not in self.kept]:
            raise TableError(
                f"keep: a backfill tells by the columns to write which rows have no prediction; add "
                f"{', '.join(missing)}, which the model takes, or score with mode 'full'."
            )

    def lacking(self) -> int:
        """How many rows have no prediction of this version."""
        from pyspark.errors import PySparkException

        try:
            return unscored(self.rows, self.kept, self.targets, self.source.uri).count()
        except PySparkException as error:
            # Maps are not compared, say.
            raise TableError(
                f"table: the rows of {self.table} can't be compared with their predictions: {explain_error(error)}. "
                "Score with mode 'full'."
            ) from error


def _checkpoint(mode: Mode, checkpoints: Checkpoints, told: _Told) -> Checkpoint | None:
    """The checkpoint to score by; None where there is nothing to backfill.

    A backfill that was killed goes on by the same call, or by any other with this model version; another version begins
    one of its own, since rows that no version predicted may be among those that it still lacks.
    """
    if mode == "full":
        return checkpoints.begin()
    checkpoint = checkpoints.to_go_on_from()
    begun_for, _ = checkpoint.backfill
    unfinished = bool(begun_for) and checkpoint.lacks_rescore
    if not unfinished and mode != "backfill":
        return checkpoint
    told.check()
    if unfinished and begun_for == told.source.uri:
        return checkpoint
    rows = told.lacking()
    if not rows and not unfinished:
        return None
    checkpoint = checkpoints.begin()
    checkpoint.begin_backfill(told.source.uri, parts_of(rows))
    return checkpoint


def _from_the_start(
    told: _Told,
    checkpoint: Checkpoint,
    *,
    table: str,
    where: str | None,
    predictions: Callable[[DataFrame], DataFrame],
    changes: Changes | None,
    sure: bool,
) -> tuple[int, int]:
    """Score what is before a checkpoint's stream: all rows, or those without a prediction; `sure`: it is not done."""
    assert checkpoint.base is not None
    in_parts = bool(checkpoint.backfill[1])
    if not in_parts and not sure and is_rescored(checkpoint, told.targets):
        return 0, 0
    # Rows that come meanwhile are left to the next run.
    rows = _as_now(_at(table, checkpoint.base, where), told.rows)
    if in_parts:
        return backfill(rows, told.kept, predictions, told.targets, source=told.table, checkpoint=checkpoint)
    if changes is not None:
        changes.check_unique(rows)
    return rescore(predictions(rows), told.targets, told.source.uri, source=told.table, checkpoint=checkpoint)


def _model_for(into: str, model: ModelURI, *, probabilities: bool) -> ModelSource:
    source = find_model(model, probabilities=probabilities)
    if "spark" in source.info.flavors:
        runtime.use_volume_for_spark_models(beside=into)
    return source


def _check_names(rows: DataFrame, table: str | DataFrame, made: tuple[str, str], rejected_into: str) -> None:
    own = (*_WRITTEN_BESIDE, _REJECTED) if rejected_into else _WRITTEN_BESIDE
    if taken := [name for name in rows.columns if name.lower() in own]:
        raise TableError(
            f"table: {shown(table)} has {', '.join(taken)}, a column that scoring writes itself; rename it."
        )
    for setting, name in zip(("target_column", "probability_column"), made, strict=True):
        if name.lower() in own:
            raise TableError(f"{setting}: {name} is a column that scoring writes itself; rename it.")
    if made[0].lower() == made[1].lower():
        raise TableError(f"probability_column: {made[1]!r} is target_column as well; name another.")


def _check_mode(mode: Mode, keys: Sequence[str]) -> None:
    """Refuse a mode that is none, and what serverless compute does not do.

    It runs streams with the trigger availableNow only, and lets few settings of a session be set:
    https://learn.microsoft.com/azure/databricks/compute/serverless/limitations
    """
    if mode not in get_args(Mode):
        raise SettingsError(f"mode: {mode!r} is none; give 'incremental', 'full', 'stream' or 'backfill'.")
    if mode == "backfill" and keys:
        raise SettingsError(
            "keys: mode 'backfill' is for tables whose rows are only ever added; score changed rows with mode 'full'."
        )
    if runtime.place() is not runtime.Place.SERVERLESS:
        return
    if mode == "stream":
        raise SettingsError(
            "mode: serverless compute runs no stream that goes on; schedule 'incremental', or use a cluster."
        )
    if keys:
        raise SettingsError(
            "keys: serverless compute does not let a merge say which transaction it is; use a cluster, or leave "
            "keys empty if rows are only ever added."
        )


def _at(table: str, version: int, where: str | None) -> DataFrame:
    return select_rows(runtime.spark().read.option("versionAsOf", version).table(runtime.quoted_table(table)), where)


def _as_now(then: DataFrame, now: DataFrame) -> DataFrame:
    """Rows of an earlier version of a table with the columns that it has now."""
    from pyspark.sql import functions

    names = {name.lower() for name in then.columns}
    return then.select(
        *(
            (functions.col(identifier(field.name)) if field.name.lower() in names else functions.lit(None))
            .cast(field.dataType)
            .alias(field.name)
            for field in now.schema.fields
        )
    )


def _stream_of(table: str, base: int | None, where: str | None) -> DataFrame:
    from pyspark.sql import functions

    rows = stream_options(base).table(runtime.quoted_table(table))
    return rows if where is None else rows.where(functions.expr(where))


def _with_origin(frame: DataFrame, source: ModelSource) -> DataFrame:
    from pyspark.sql import functions

    given = (source.name, source.version or None, source.uri)
    values = (*(functions.lit(text).cast("string") for text in given), functions.current_timestamp())
    return frame.withColumns(dict(zip(_WRITTEN_BESIDE, values, strict=True)))
