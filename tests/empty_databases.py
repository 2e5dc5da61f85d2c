"""MLflow's databases for tests: the history of their schema, which takes seconds, is gone through once a process."""

from __future__ import annotations

import functools
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy
from mlflow.store.db import utils
from tests.emulators.azureml.mlflow_server import without_waiting_for_the_disk


@pytest.fixture(scope="session", autouse=True)
def databases_are_copied(tmp_path_factory):
    """Every new SQLite store of this process is a copy of the first one, as MLflow had made that."""
    template = tmp_path_factory.mktemp("empty") / "mlflow.db"
    upgrade = utils._upgrade_db

    def upgrade_or_copy(engine: sqlalchemy.Engine) -> None:
        version = utils._get_schema_version(engine)
        if version == utils._get_latest_schema_revision():
            # MLflow takes each of its stores for one that lacks tables, and goes through all of its history to find
            # nothing to do.
            return
        if version is not None or not _is_file(engine):
            upgrade(engine)
        elif template.exists():
            _copy(template, Path(engine.url.database))
        else:
            upgrade(engine)
            _copy(Path(engine.url.database), template)

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", without_waiting_for_the_disk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "_upgrade_db", upgrade_or_copy)
        patch.setattr(utils, "_get_latest_schema_revision", functools.cache(utils._get_latest_schema_revision))
        yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", without_waiting_for_the_disk)


def _is_file(engine: sqlalchemy.Engine) -> bool:
    return engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:")


def _copy(source: Path, target: Path) -> None:
    partial = target.with_suffix(".partial") if not target.exists() else target
    read, write = sqlite3.connect(source), sqlite3.connect(partial)
    try:
        read.backup(write)
    finally:
        read.close()
        write.close()
    partial.replace(target)
