"""Hand values from one notebook to the next: Databricks task values, locally a small file."""

from __future__ import annotations

import json
import os
from pathlib import Path

from adbazureml.errors import EnvironmentNotReadyError
from adbazureml.runtime.notebook import dbutils
from adbazureml.runtime.place import home, on_databricks


def hand_on(**values: str) -> None:
    """Hand values on to the notebooks that follow.

    On Databricks each becomes a task value of the running task; the bundle's job passes it to later tasks as the
    parameter of the same name (``{{tasks.<task>.values.<name>}}``). Elsewhere they are kept in ``task_values.json``
    of the local folder, from which `handed_on` reads.
    """
    if on_databricks():
        for name, value in values.items():
            dbutils().jobs.taskValues.set(key=name, value=value)
        return
    path = _file()
    merged = {**handed_on(), **values}
    # A reader sees the old file or the new one, never half of one.
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(merged, indent=2), encoding="utf-8")
    partial.replace(path)


def handed_on() -> dict[str, str]:
    """Return what earlier notebooks handed on; empty on Databricks, where it arrives as parameters.

    Raises
    ------
    EnvironmentNotReadyError
        The local file is not what `hand_on` writes.
    """
    if on_databricks() or not _file().exists():
        return {}
    try:
        values = json.loads(_file().read_text(encoding="utf-8"))
    except ValueError as error:
        raise EnvironmentNotReadyError(f"{_file()} is damaged ({error}): delete it and run 03 again.") from error
    return {str(name): str(value) for name, value in values.items()}


def _file() -> Path:
    return home() / "task_values.json"
