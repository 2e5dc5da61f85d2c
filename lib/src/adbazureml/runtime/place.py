"""Which of the three places this is, and the one local folder that holds every local backend."""

from __future__ import annotations

import os
import tempfile
from enum import Enum
from pathlib import Path

from adbazureml.errors import EnvironmentNotReadyError
from adbazureml.settings import HOME_VARIABLE


class Place(str, Enum):
    """Where the code runs."""

    CLUSTER = "Databricks cluster"
    SERVERLESS = "Databricks serverless"
    LOCAL = "local"


def place() -> Place:
    """Tell where the code runs, from the variables that Databricks sets in every Python process."""
    if os.environ.get("DATABRICKS_RUNTIME_VERSION"):
        serverless = os.environ.get("IS_SERVERLESS", "").upper() == "TRUE"
        return Place.SERVERLESS if serverless else Place.CLUSTER
    return Place.LOCAL


def on_databricks() -> bool:
    """Whether this is a Databricks cluster or serverless."""
    return place() is not Place.LOCAL


def home_path() -> Path:
    """Where the local backends and endpoints live.

    It is ``ADBAZUREML_HOME``; without it ``.local`` beside the project's ``bundle.yml``, searched upwards from the
    working directory; without that ``.local`` in the working directory. On Databricks it is on the driver's own disk:
    a job's notebooks may lie in a folder that its identity can't write.
    """
    if chosen := os.environ.get(HOME_VARIABLE):
        return Path(chosen).expanduser().absolute()
    return Path(tempfile.gettempdir()) / "adbazureml" if on_databricks() else _project_folder() / ".local"


def home() -> Path:
    """Return the folder of the local backends, made if needed.

    Raises
    ------
    EnvironmentNotReadyError
        The folder can't be made or written.
    """
    folder = home_path()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise EnvironmentNotReadyError(
            f"The folder {folder} can't be written ({error.strerror}): set {HOME_VARIABLE} to a folder that can."
        ) from error
    return folder


def _project_folder() -> Path:
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "bundle.yml").is_file()), here)
