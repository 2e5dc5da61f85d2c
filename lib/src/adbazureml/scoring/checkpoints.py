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


def checkpoint_for(*, source: str, model_name: str, into: str, root: str, anew: bool) -> Checkpoint:
    """Find the checkpoint to go on from, or begin one.

    Parameters
    ----------
    source : str
        Full name of the Delta table to score.
    model_name : str
        Registered model, whatever its version: a new version goes on where the last one stopped.
    into : str
        The table of the predictions, which exists. It notes in a property that there is a checkpoint.
    root : str
        Folder of all checkpoints; empty for the local stand-in's.
    anew : bool
        Begin a checkpoint even where there is one.

    Raises
    ------
    TableError
        The table was scored incrementally before, and its checkpoint is gone.
    SettingsError
        The folder is not named on Databricks, or can't be written.
    """
    detail = runtime.spark().sql(f"DESCRIBE DETAIL {into}").first()
    assert detail is not None
    key = hashlib.sha256("\0".join((source, model_name, detail["id"])).encode()).hexdigest()[:16]
    folder = _root(root) / key
    numbered = {int(one.name.partition("-")[0]): one for one in folder.iterdir()} if folder.is_dir() else {}
    last = max(numbered, default=0)
    if last and not anew:
        return Checkpoint(numbered[last], key, last, numbered[last].name.endswith("-full"))
    noted = _PROPERTY + key
    if not anew and noted in detail["properties"]:
        raise TableError(
            f"checkpoints: {into!r} was scored from {source} before, and {folder}, which knows how far, is gone. Name "
            "the folder used then, or score once with scoring_mode 'full': that replaces the predictions of this model "
            "version and begins anew."
        )
    made = _make(folder, last + 1, "-full" if anew else "")
    if noted not in detail["properties"]:
        note = f"ALTER TABLE {into} SET TBLPROPERTIES ('{noted}' = '{source} by {model_name}')"
        repeat_on_conflict(lambda: runtime.spark().sql(note))
    return Checkpoint(made, key, int(made.name.partition("-")[0]), anew)


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
