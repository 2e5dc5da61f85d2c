"""Local stand-ins of the two workspaces: an MLflow store each, in a folder of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from adbazureml import runtime

# Where `make ui` shows the stand-ins' tracking stores.
_LOCAL_UI = {"databricks": "http://127.0.0.1:5000/#", "azureml": "http://127.0.0.1:5001/#"}


def stand_in(kind: Literal["databricks", "azureml"]) -> dict[str, str]:
    """Name, tracking and registry URI and page of a stand-in, whose folder is made if needed."""
    folder = runtime.home() / kind
    folder.mkdir(exist_ok=True)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    return {"name": str(folder), "tracking_uri": uri, "registry_uri": uri, "url": _LOCAL_UI[kind]}


def stand_in_artifacts(tracking_uri: str) -> str | None:
    """Folder for the artifacts of a stand-in's tracking store, beside its database; None for any other store."""
    folder = Path(tracking_uri.removeprefix("sqlite:///")).parent
    return str(folder / "artifacts") if folder.parent == runtime.home_path() else None
