"""Folders of this machine, as they are named where MLflow takes the address of a model."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit


def local_folder(address: str) -> Path | None:
    """Return the folder that a path or a ``file:`` URI names; None for the address of anything else.

    Without a host there are no relative ``file:`` URIs. Microsoft's notebooks write them all the same, with the folder
    where a host would be: ``file://model`` is the folder ``model`` of the working directory.
    """
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(unquote(parts.path if parts.netloc == "localhost" else parts.netloc + parts.path))
    return None if "://" in address or parts.scheme in ("models", "runs") else Path(address)
