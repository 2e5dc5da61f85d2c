"""What a refusal of Databricks means, by table: a sentence for each kind, whichever of its services says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adbazureml.text import first_line

if TYPE_CHECKING:
    from databricks.sdk.errors import DatabricksError


def explain_error(error: DatabricksError, meanings: Mapping[str, str], **values: str) -> str:
    """Say what Databricks refused, and what to do.

    Parameters
    ----------
    error : DatabricksError
        What the client raised.
    meanings : mapping of str to str
        A sentence for each kind of refusal by the name of its class, such as ``PermissionDenied``; that of
        ``DatabricksError`` stands for all others. ``{answer}`` and the names in ``values`` are filled in.
    """
    kinds = (kind.__name__ for kind in type(error).__mro__)
    text = next(meanings[kind] for kind in kinds if kind in meanings)
    return text.format(answer=first_line(error), **values)
