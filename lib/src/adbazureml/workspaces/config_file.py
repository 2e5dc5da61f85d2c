"""Azure ML's config.json, which its portal offers for download and both of its Python packages read."""

from __future__ import annotations

import json
import os
from itertools import product
from pathlib import Path

from adbazureml.azure.workspace_address import parse_arm_id
from adbazureml.errors import WorkspaceError

# The order in which azure-ai-ml looks: one combination all the way up, then the next.
_FOLDERS, _FILES = (".azureml", "aml_config", ""), ("config.json", "project.json")
_NAMES = ("subscription_id", "resource_group", "workspace_name")


def read_config(path: str | os.PathLike[str] | None, file_name: str) -> dict[str, str]:
    """Return subscription id, resource group and name of the workspace that the file names.

    Parameters
    ----------
    path : str or path-like, optional
        The file, or the folder from which to search upwards; left out: the working directory.
    file_name : str
        The file's name; empty: ``config.json``, or ``project.json`` of old.

    Raises
    ------
    WorkspaceError
        There is no such file, or it names no workspace.
    """
    start = Path(path or ".").absolute()
    file = start if start.is_file() else _search(start, (file_name,) if file_name else _FILES)
    if file is None:
        raise WorkspaceError(
            f"path: neither {start} nor a folder above it has {file_name or 'config.json'} or .azureml/"
            f"{file_name or 'config.json'}. Download it in Azure's portal, from the workspace's overview."
        )
    try:
        said = json.loads(file.read_text(encoding="utf-8-sig"))
        if said.get("Scope"):
            address = parse_arm_id(said["Scope"])
            return dict(zip(_NAMES, (address.subscription_id, address.resource_group, address.name), strict=True))
        return {name: str(said[name]) for name in _NAMES}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise WorkspaceError(
            f"path: {file} names no Azure ML workspace ({error}); it holds {', '.join(_NAMES)} as JSON."
        ) from error


def _search(start: Path, names: tuple[str, ...]) -> Path | None:
    places = product(_FOLDERS, names, (start, *start.parents))
    return next((file for folder, name, above in places if (file := above / folder / name).is_file()), None)
