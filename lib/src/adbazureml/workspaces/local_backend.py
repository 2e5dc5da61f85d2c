"""Local backends of the two workspaces: an MLflow store each, in a folder of this machine."""

from __future__ import annotations

import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

from adbazureml import runtime

# Where `make ui` shows the local backends' tracking stores; a file in the local backend's folder names the port that it
# took last where this one was not free.
_UI_PORTS = {"databricks": 5000, "azureml": 5001}
_UI_PORT_FILE = "ui_port"


def local_backend(kind: Literal["databricks", "azureml"]) -> dict[str, str]:
    """Name, tracking and registry URI and page of a local backend, whose folder is made if needed."""
    folder = runtime.home() / kind
    folder.mkdir(exist_ok=True)
    database = folder / "mlflow.db"
    if not database.exists():
        _make(database)
    uri = f"sqlite:///{database}"
    url = f"http://127.0.0.1:{_ui_port(folder) or _UI_PORTS[kind]}/#"
    return {"name": str(folder), "tracking_uri": uri, "registry_uri": uri, "url": url}


def _make(database: Path) -> None:
    """Make the database beside its place, and put it there whole.

    MLflow makes its tables by dozens of migrations; of two processes that do so in the same file, or one that is killed
    meanwhile, a database is left that nobody can open.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    quiet_migrations()
    with tempfile.TemporaryDirectory(dir=database.parent, prefix="new-") as beside:
        made = Path(beside) / database.name
        SqlAlchemyStore(f"sqlite:///{made}", str(database.parent / "artifacts")).engine.dispose()
        # Whoever comes second takes what the first has put there.
        with suppress(FileExistsError):
            os.link(made, database)


def quiet_migrations() -> None:
    """Keep back the fifty lines that MLflow logs when it makes a database, and two whenever it opens one."""
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)


def keep_ui_port(folder: str, port: int) -> None:
    """Note the port at which a local backend's store is shown, where its links lead from now on."""
    (Path(folder) / _UI_PORT_FILE).write_text(str(port))


def _ui_port(folder: Path) -> int:
    file = folder / _UI_PORT_FILE
    kept = file.read_text() if file.is_file() else ""
    return int(kept) if kept.isdigit() else 0


def local_artifact_folder(tracking_uri: str) -> str | None:
    """Folder for the artifacts of a local backend's tracking store, beside its database; None for any other store."""
    folder = Path(tracking_uri.removeprefix("sqlite:///")).parent
    return str(folder / "artifacts") if folder.parent == runtime.home_path() else None
