"""Where incremental scoring remembers how far it is: a folder per source, model and target, numbered anew by a rescore.

The number also fences: it leads in the transaction versions of the target, which Delta takes in ascending order only.
A job that still writes for an earlier number finds its rows skipped, and the later number has read them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from adbazureml import runtime
from adbazureml.errors import SettingsError, TableError
from adbazureml.scoring.conflicts import repeat_on_conflict

_PROPERTY = "adbazureml.scored."
# Batches of one checkpoint; a stream of one batch a second reaches it after 31 years.
_BATCHES = 10**9


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of Structured Streaming.

    Attributes
    ----------
    folder : pathlib.Path
        Where it is, for the driver and for Spark alike.
    key : str
        What source, model name and target make of it; the application id of its Delta transactions.
    number : int
        1 for the first; each full rescore takes the next.
    replaces : bool
        Whether its first batch replaces the model version's rows.
    """

    folder: Path
    key: str
    number: int
    replaces: bool

    @property
    def fence(self) -> int:
        """Transaction version that shuts out all earlier checkpoints of the key."""
        return self.number * _BATCHES

    def transaction(self, batch: int) -> int:
        """Transaction version of a batch."""
        return self.fence + 1 + batch

    @property
    def begun(self) -> bool:
        """Whether its first batch is known to be written."""
        return (self.folder / "commits" / "0").exists()


def checkpoint_for(*, source: str, where: str | None, model_name: str, into: str, root: str, anew: bool) -> Checkpoint:
    """Find the checkpoint to go on from, or begin one.

    Parameters
    ----------
    source : str
        Full name of the Delta table to score.
    where : str or None
        Condition on its rows. A checkpoint knows one only: rows that it passed over don't come again.
    model_name : str
        Registered model, whatever its version: a new version goes on where the last one stopped.
    into : str
        The table of the predictions, which exists. It notes number and condition in a property.
    root : str
        Folder of all checkpoints; empty for the local stand-in's.
    anew : bool
        Begin a checkpoint even where there is one.

    Raises
    ------
    TableError
        The table was scored incrementally before with another condition, or its checkpoint is gone.
    SettingsError
        The folder is not named on Databricks, or can't be written.
    """
    detail = runtime.spark().sql(f"DESCRIBE DETAIL {into}").first()
    assert detail is not None
    key = hashlib.sha256("\0".join((source, model_name, detail["id"])).encode()).hexdigest()[:16]
    folder = _root(root) / key
    numbered = {int(one.name.partition("-")[0]): one for one in folder.iterdir()} if folder.is_dir() else {}
    last = max(numbered, default=0)
    noted_number, _, noted = detail["properties"].get(_PROPERTY + key, "").partition(" ")
    condition = where or ""
    if not anew and noted_number and noted != condition:
        raise TableError(
            f"scoring_condition: {where!r} is not {noted or None!r}, with which {into!r} was scored from {source} so "
            "far: rows passed over then would be missed. Go on with that one, write to another table, or score once "
            "with scoring_mode 'full': that replaces the predictions of this model version by that condition's rows."
        )
    if not anew and last < int(noted_number or 0):
        raise TableError(
            f"checkpoints: {into!r} was scored from {source} before, and {folder / noted_number}, which knows how far, "
            "is gone. Name the folder used then, or score once with scoring_mode 'full': that replaces the predictions "
            "of this model version and begins anew."
        )
    if last and not anew:
        made = numbered[last]
    else:
        # The target has taken transactions up to the number that it notes, even where the folder is gone.
        made = _make(folder, max(last, int(noted_number or 0)) + 1, "-full" if anew else "")
    number = int(made.name.partition("-")[0])
    if (noted_number, noted) != (str(number), condition):
        text = condition.replace("\\", r"\\").replace("'", r"\'")
        note = f"ALTER TABLE {into} SET TBLPROPERTIES ('{_PROPERTY}{key}' = '{number} {text}')"
        repeat_on_conflict(lambda: runtime.spark().sql(note))
    return Checkpoint(made, key, number, made.name.endswith("-full"))


def _make(folder: Path, number: int, suffix: str) -> Path:
    """Make a numbered folder; where two jobs rescore at once, each gets its own."""
    while True:
        made = folder / f"{number}{suffix}"
        try:
            made.mkdir(parents=True, exist_ok=not suffix)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise SettingsError(
                f"checkpoints: {str(folder.parent)!r} can't be written ({error.strerror}); name a folder that can, on "
                "Databricks one in a Unity Catalog volume."
            ) from error
        else:
            return made


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
        Folder of all checkpoints; empty for the local stand-in's, and on Databricks for none.
    """
    if not root and runtime.on_databricks():
        return []
    detail = runtime.spark().sql(f"DESCRIBE DETAIL {into}").first()
    noted = detail["properties"] if detail else {}
    keys = [name.removeprefix(_PROPERTY) for name in noted if name.startswith(_PROPERTY)]
    return [folder for folder in (_root(root) / key for key in sorted(keys)) if folder.is_dir()]
