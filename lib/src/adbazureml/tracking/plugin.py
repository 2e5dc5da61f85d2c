"""Builders of tracking stores, found by MLflow through the entry points of this wheel.

Each gives the very store that MLflow itself builds for the scheme; its class is swapped for a subclass that hears when
a run ends. Subclassing the store, rather than wrapping it under a scheme of our own, keeps everything that MLflow
decides by the URI (`is_databricks_uri`) or by the class (`isinstance(store, RestStore)`) as it was, and every method
that MLflow adds later. While nothing is mirrored, the subclass does nothing but call its parent.

MLflow loads this module in the middle of its own import, so nothing of MLflow is imported at the top.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any


def databricks_store(store_uri: str, artifact_uri: str | None = None) -> Any:
    """Build MLflow's store for ``databricks`` and ``databricks://<profile>``."""
    return _listening("_get_databricks_rest_store", store_uri, artifact_uri)


def rest_store(store_uri: str, artifact_uri: str | None = None) -> Any:
    """Build MLflow's store for an MLflow server at ``http://`` or ``https://``."""
    return _listening("_get_rest_store", store_uri, artifact_uri)


def sql_store(store_uri: str, artifact_uri: str | None = None) -> Any:
    """Build MLflow's store for ``sqlite://``; a stand-in's artifacts lie beside its database."""
    from adbazureml.workspace import stand_in_artifacts

    beside = stand_in_artifacts(store_uri)
    if beside is not None:
        # MLflow logs fifty lines when it makes a new database, and more for its registry.
        for name in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(name).setLevel(logging.WARNING)
    return _listening("_get_sqlalchemy_store", store_uri, artifact_uri or beside)


def _listening(builder: str, store_uri: str, artifact_uri: str | None) -> Any:
    from mlflow.tracking._tracking_service import utils

    # The one private means: MLflow's own builders, the same in 3.0 and 3.8 (pinned by a test).
    store = getattr(utils, builder)(store_uri=store_uri, artifact_uri=artifact_uri)
    built_class: Any = type(store)
    store.__class__ = _listening_class(built_class)
    store.adbazureml_uri = store_uri
    return store


@cache
def _listening_class(store_class: Any) -> Any:
    def update_run_info(self: Any, run_id: str, run_status: Any, end_time: Any, run_name: Any) -> Any:
        info = store_class.update_run_info(self, run_id, run_status, end_time, run_name)
        if run_status is not None:
            from adbazureml.tracking.switch import run_changed_status

            run_changed_status(self.adbazureml_uri, run_id, run_status)
        return info

    return type(store_class.__name__, (store_class,), {"update_run_info": update_run_info})
