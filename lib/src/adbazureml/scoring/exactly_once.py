"""Where incremental scoring remembers how far it is: a folder per source, model and target, numbered anew by a rescore.

The number also fences: it leads in the transaction versions of the target, which Delta takes in ascending order only.
A job that still writes for an earlier number finds its rows skipped, and the later number reads them.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.errors import SettingsError, TableError
from adbazureml.scoring.predictions_table import TargetTables, version_of, write_once
from adbazureml.scoring.write_conflicts import repeat_on_conflict
from adbazureml.text import literal

if TYPE_CHECKING:
    from pyspark.sql import Row

_PROPERTY = "adbazureml.scored."
# Batches of one checkpoint; a stream of one batch a second reaches it after 31 years.
_BATCHES = 10**9
# Parts of one backfill, whose transactions come before those of the batches.
_PARTS = 10**6
_FROM, _RESERVED, _SCORED, _BACKFILL = "-from-", "reserved", "adbazureml-scored", "adbazureml-backfill"
# A rescore that was killed before it chose its version is given up after this; it needs a few seconds.
_PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of Structured Streaming.

    Attributes
    ----------
    source : str
        Full name of the Delta table that is scored.
    folder : pathlib.Path
        Where it is, for the driver and for Spark alike.
    key : str
        What source, model name and target make of it; the application id of its Delta transactions.
    number : int
        1 for the first; each full rescore takes the next.
    base : int or None
        The version of the source that the rescore reads; the stream begins behind it. None: with the first row.
    """

    source: str
    folder: Path
    key: str
    number: int
    base: int | None

    @property
    def fence(self) -> int:
        """Transaction version that shuts out all earlier checkpoints of the key."""
        return self.number * _BATCHES

    @property
    def rescore(self) -> int:
        """Transaction version of the rescore."""
        return self.fence + 1

    def batch(self, number: int) -> int:
        """Transaction version of a batch of the stream."""
        return self.fence + 2 + number + (_PARTS if self.backfill[1] else 0)

    def part(self, number: int) -> int:
        """Transaction version of a part of the backfill."""
        return self.fence + 1 + number

    @property
    def backfill(self) -> tuple[str, int]:
        """The model version that is to score in parts what it has no prediction of, and how many parts; else empty, 0.

        Then there is no rescore in one transaction.
        """
        noted = self.folder / _BACKFILL
        if not noted.exists():
            return "", 0
        parts, _, model_uri = noted.read_text(encoding="utf-8").partition(" ")
        return model_uri, int(parts)

    def begin_backfill(self, model_uri: str, parts: int) -> None:
        """Note that the checkpoint begins with a backfill, not a rescore; before the first part is written."""
        noted = self.folder / _BACKFILL
        part = noted.with_suffix(".part")
        part.write_text(f"{parts} {model_uri}", encoding="utf-8")
        part.replace(noted)

    @property
    def lacks_rescore(self) -> bool:
        """Whether the rescore is not known to be done: it goes on, or was killed."""
        return self.base is not None and not (self.folder / _SCORED).exists()

    @property
    def begun(self) -> bool:
        """Whether the stream wrote down where it begins."""
        return (self.folder / "offsets" / "0").exists()

    @property
    def is_last(self) -> bool:
        """Whether no rescore took a later number."""
        return self.number >= max(_reserved(self.folder.parent), default=0)

    def mark_scored(self) -> None:
        """Note that the rescore is done."""
        (self.folder / _SCORED).touch()


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one source, model name and target.

    Parameters
    ----------
    source : pyspark Row
        Spark's description of the Delta table to score.
    where : str or None
        Condition on its rows. A checkpoint knows one only: rows that it passed over don't come again.
    model_name : str
        Registered model, whatever its version: a new version goes on where the last one stopped.
    targets : Targets
        The tables to write, which exist. The one of the predictions notes in a property how they were made.
    root : str
        Folder of all checkpoints; empty for the local backend's.
    """

    source: Row
    where: str | None
    model_name: str
    targets: TargetTables
    root: str

    def to_go_on_from(self) -> Checkpoint:
        """The newest checkpoint, begun where there is none.

        Raises
        ------
        TableError
            The table was scored incrementally before with another condition, or is another one of that name, or its
            checkpoint is gone.
        SettingsError
            The folder is not named on Databricks, or can't be written.
        """
        key, folder, (noted_number, noted_id, noted_where) = self._noted()
        into, source, condition = self.targets.into, self.source["name"], self.where or ""
        if noted_number and noted_where != condition:
            raise TableError(
                f"where: {self.where!r} is not {noted_where or None!r}, with which {into!r} was scored "
                f"from {source} so far: rows passed over then would be missed. Go on with that one, write to "
                "another table, or score once with mode 'full': that replaces the predictions of this model "
                "version by that condition's rows."
            )
        if noted_number and noted_id != self.source["id"]:
            raise TableError(
                f"table: {source} can't be followed further, since it was replaced by another "
                "table of that name. Score once with mode 'full': that replaces the predictions of this model "
                "version and goes on from there."
            )
        made = self._newest(folder)
        if made is None and noted_number == 0:
            made = _made(folder / "1")
        if made is None or _number(made) < noted_number:
            raise TableError(
                f"checkpoints: {into!r} was scored from {source} before, and {folder / str(noted_number)}, which knows "
                "how far, is gone. Name the folder used then, or score once with mode 'full': that replaces "
                "the predictions of this model version and begins anew."
            )
        based = made.name.partition(_FROM)[2]
        checkpoint = Checkpoint(source, made, key, _number(made), int(based) if based else None)
        if not checkpoint.is_last:
            # A rescore was killed before it chose its version, and has shut out what came before.
            return self.begin()
        if checkpoint.number != noted_number:
            self._note(checkpoint)
        return checkpoint

    def begin(self) -> Checkpoint:
        """Begin a checkpoint for a rescore of all that the source holds now.

        Raises
        ------
        SettingsError
            The folder is not named on Databricks, or can't be written.
        """
        key, folder, (noted_number, *_) = self._noted()
        # The target has taken transactions up to the number that it notes, even where the folder is gone; the first
        # number is that of scoring without a rescore.
        number = _reserve(folder, max(1, noted_number, *_numbered(folder)))
        # First the fence, then the version: what earlier checkpoints have read by now is in it.
        for target in self.targets.all:
            rows = runtime.table(target).limit(0)
            repeat_on_conflict(
                lambda rows=rows, target=target: write_once(  # type: ignore[misc]
                    rows, target, application=key, version=number * _BATCHES, mark=f"{key}:fence"
                )
            )
        base = version_of(self.source["name"])
        checkpoint = Checkpoint(self.source["name"], _made(folder / f"{number}{_FROM}{base}"), key, number, base)
        self._note(checkpoint)
        return checkpoint

    def _noted(self) -> tuple[str, Path, tuple[int, str, str]]:
        """The key, its folder, and what the target notes: last number, the source's id, and the condition."""
        detail = runtime.spark().sql(f"DESCRIBE DETAIL {runtime.quoted_table(self.targets.into)}").first()
        assert detail is not None
        told = (self.source["name"], self.model_name, detail["id"])
        key = hashlib.sha256("\0".join(told).encode()).hexdigest()[:16]
        number, _, rest = detail["properties"].get(_PROPERTY + key, "0").partition(" ")
        source_id, _, condition = rest.partition(" ")
        return key, _root(self.root) / key, (int(number), source_id, condition)

    def _note(self, checkpoint: Checkpoint) -> None:
        key, noted = _PROPERTY + checkpoint.key, f"{checkpoint.number} {self.source['id']} {self.where or ''}"
        into = runtime.quoted_table(self.targets.into)
        alter = f"ALTER TABLE {into} SET TBLPROPERTIES ({literal(key)} = {literal(noted)})"
        repeat_on_conflict(lambda: runtime.spark().sql(alter))

    def _newest(self, folder: Path) -> Path | None:
        """The newest checkpoint; waits for a rescore that is about to begin one."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            found = _numbered(folder)
            last = max(found, default=0)
            if max(_reserved(folder), default=0) <= last or time.monotonic() > until:
                return found.get(last)
            time.sleep(_POLL_SECONDS)


def _numbered(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder, by number."""
    found = folder.iterdir() if folder.is_dir() else []
    return {_number(one): one for one in found if one.name.partition(_FROM)[0].isdigit()}


def _number(folder: Path) -> int:
    return int(folder.name.partition(_FROM)[0])


def _reserved(folder: Path) -> list[int]:
    """The numbers that rescores took, whether or not they came to begin a checkpoint."""
    taken = folder / _RESERVED
    return [int(one.name) for one in taken.iterdir()] if taken.is_dir() else []


def _reserve(folder: Path, last: int) -> int:
    """Take the next number; where two jobs rescore at once, each gets its own."""
    taken = _made(folder / _RESERVED)
    number = max([last, *_reserved(folder)])
    while True:
        number += 1
        with suppress(FileExistsError):
            (taken / str(number)).mkdir()
            return number


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"checkpoints: {str(folder.parent.parent)!r} can't be written ({error.strerror}); name a folder that can, "
            "on Databricks one in a Unity Catalog volume."
        ) from error
    return folder


def _root(root: str) -> Path:
    if not root and runtime.on_databricks():
        raise SettingsError(
            "checkpoints: empty; name a folder that outlives the cluster, such as /Volumes/<catalog>/<schema>/<volume>."
        )
    return Path(root) if root else runtime.home() / "checkpoints"


def checkpoints_of(into: str, *, root: str) -> list[Path]:
    """Return the folders that remember what was scored into a table, as its properties note them.

    Parameters
    ----------
    root : str
        Folder of all checkpoints; empty for the local backend's, and on Databricks for none.
    """
    if not root and runtime.on_databricks():
        return []
    detail = runtime.spark().sql(f"DESCRIBE DETAIL {runtime.quoted_table(into)}").first()
    noted = detail["properties"] if detail else {}
    keys = [name.removeprefix(_PROPERTY) for name in noted if name.startswith(_PROPERTY)]
    return [folder for folder in (_root(root) / key for key in sorted(keys)) if folder.is_dir()]
