"""What an inventory holds, in the order in which it would be deleted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from html import escape
from typing import TYPE_CHECKING

from adbazureml.errors import CleanUpError

if TYPE_CHECKING:
    import pandas as pd

    from adbazureml.settings import Settings
    from adbazureml.workspaces import AzureMLWorkspace, Workspace

# What needs another thing goes before it: an endpoint serves a version, a version was made by a run, a checkpoint tells
# how far a table was written.
KINDS = ("endpoint", "model version", "model", "run", "checkpoint", "table", "link", "resource group")
# Other people's work hangs on these: they go only when they are asked for by their kind.
SHARED = ("link", "resource group")
_TIME = "%Y-%m-%d %H:%M"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing that the project made.

    Attributes
    ----------
    kind : str
        One of "endpoint", "model version", "model", "run", "checkpoint", "table", "link", "resource group".
    name : str
        Name or id.
    where : str
        What holds it: a workspace's tracking or registry URI, a deployment target, a resource id.
    made : datetime or None
        When, where that is known.
    link : str
        Its page.
    note : str
        What whoever deletes it should know.
    workspace : Workspace or None
        The one whose MLflow client deletes it; None for what no such client knows.
    """

    kind: str
    name: str
    where: str = ""
    made: datetime | None = None
    link: str = ""
    note: str = ""
    workspace: Workspace | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Inventory:
    """What there is, in the order in which it would be deleted.

    Attributes
    ----------
    settings : Settings
        The names that it was looked for by.
    workspace : AzureMLWorkspace or None
        The Azure ML workspace; None where Databricks is used alone.
    items : tuple of Item
    left : tuple of str
        What has such a name and is not this project's, so that it is never deleted; a sentence each.
    deleted : bool
        Whether the items are gone.
    """

    settings: Settings = field(repr=False)
    workspace: AzureMLWorkspace | None = field(repr=False)
    items: tuple[Item, ...]
    left: tuple[str, ...] = ()
    deleted: bool = False

    @property
    def experiment(self) -> str:
        """The experiment, whose name confirms a deletion."""
        return self.settings.experiment_name

    def only(self, *kinds: str) -> Inventory:
        """Choose some kinds of things; none named: all but those in which other people's work may be.

        Raises
        ------
        CleanUpError
            There is no such kind.
        """
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise CleanUpError(f"kinds {', '.join(unknown)!r}: expected some of {', '.join(KINDS)}.")
        chosen = kinds or tuple(kind for kind in KINDS if kind not in SHARED)
        return replace(self, items=tuple(item for item in self.items if item.kind in chosen))

    def to_pandas(self) -> pd.DataFrame:
        """One row an item."""
        import pandas as pd

        now = datetime.now(timezone.utc)
        rows = [
            {
                "kind": item.kind,
                "name": item.name,
                "where": item.where,
                "made (UTC)": item.made.astimezone(timezone.utc).strftime(_TIME) if item.made else "",
                "age": _age((now - item.made).total_seconds()) if item.made else "",
                "link": item.link,
                "note": item.note,
            }
            for item in self.items
        ]
        return pd.DataFrame(rows, columns=["kind", "name", "where", "made (UTC)", "age", "link", "note"])

    def __str__(self) -> str:
        left = "".join(f"\nLeft alone: {sentence}" for sentence in self.left)
        return f"{self._sentence()}\n{self.to_pandas().to_string(index=False) if self.items else ''}{left}"

    def _repr_html_(self) -> str:
        table = str(self.to_pandas().to_html(index=False, render_links=True)) if self.items else ""
        left = "".join(f"<li>{escape(sentence)}</li>" for sentence in self.left)
        return f"<p>{self._sentence()}</p>{table}" + (f"<p>Left alone:</p><ul>{left}</ul>" if left else "")

    def _sentence(self) -> str:
        if not self.items:
            return "Nothing of the project is left."
        counts = {kind: sum(item.kind == kind for item in self.items) for kind in KINDS}
        told = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count)
        return f"{'Deleted' if self.deleted else 'There is, and nothing was deleted'}: {told}."


def moment(milliseconds: int | None) -> datetime | None:
    """A time as MLflow gives it."""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc) if milliseconds else None


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return "just now"
