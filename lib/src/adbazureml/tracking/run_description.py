"""A run's description, which MLflow's pages show: what the run came to, and the way to its counterpart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote

from adbazureml.tracking import run_tags

# The tag that is a run's description, in Markdown.
NOTE = "mlflow.note.content"

Stage = Literal["validate", "deploy", "score", "monitor"]

_LINK = re.compile(r"(?:\n\n)?\[This run in (?:Databricks|Azure ML)\]\([^)\s]*\)")


def tell_outcome(stage: Stage, said: str) -> None:
    """Tag the active run with its step, and describe it in a sentence, unless it was started with a description.

    Parameters
    ----------
    stage : {"validate", "deploy", "score", "monitor"}
    said : str
        What came of it; what a tag has no room for is cut off.
    """
    import mlflow

    tags: dict[str, str] = {run_tags.STAGE: stage}
    run = mlflow.active_run()
    if run is None or NOTE not in run.data.tags:
        tags[NOTE] = said if len(said) <= run_tags.TAG_LENGTH else f"{said[: run_tags.TAG_LENGTH - 1]}…"
    mlflow.set_tags(tags)


def without_link(description: str) -> str:
    """A description as people wrote it."""
    return _LINK.sub("", description)


def linked_description(tags: Mapping[str, str], place: str, address: str) -> dict[str, str]:
    """The tag that lets a run's description end in a link to its counterpart; none where it does, or has no room.

    Parameters
    ----------
    tags : mapping of str to str
        Those of the run.
    place : {"Databricks", "Azure ML"}
        Where the counterpart is.
    address : str
        Its page.
    """
    written = tags.get(NOTE, "")
    # A resource group, which Azure ML's addresses have, may have brackets; they would end Markdown's.
    address = quote(address, safe="%/:?#[]@!$&'*+,;=~")
    said = without_link(written)
    link = f"[This run in {place}]({address})"
    description = f"{said}\n\n{link}" if said else link
    return {} if description == written or len(description) > run_tags.TAG_LENGTH else {NOTE: description}
