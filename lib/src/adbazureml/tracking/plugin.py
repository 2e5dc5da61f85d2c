"""Builders of tracking stores, found by MLflow through the entry points of this wheel.

Each gives the very store that MLflow itself builds for the scheme; its class is swapped for a subclass that hears of
writes. Subclassing the store, rather than wrapping it under a scheme of our own, keeps everything that MLflow
decides by the URI (`is_databricks_uri`) or by the class (`isinstance(store, RestStore)`) as it was, and every method
that MLflow adds later. While nothing is replicated, the subclass does nothing but call its parent.

``adbazureml://…`` is the path of an Azure ML tracking URI under another scheme, and once was what a cluster of a linked
workspace had as ``MLFLOW_TRACKING_URI``. Such a cluster tracks in both: as MLflow is imported, before anybody asks, the
variable becomes ``databricks``, so that nothing which depends on `is_databricks_uri` is lost. Where a notebook sets
the URI itself, the same happens when its store is first used; a client made before keeps the old URI, and so prints no
links.

MLflow loads this module in the middle of its own import, so nothing of MLflow is imported at the top.
"""

from __future__ import annotations

import os
from typing import Any

from adbazureml.tracking.store_pair import SCHEME, StorePair

_URI = "MLFLOW_TRACKING_URI"


def databricks_store(store_uri: str, artifact_uri: str | None = None) -> Any:
    """Build MLflow's store for ``databricks`` and ``databricks://<profile>``."""
    return _replicated("_get_databricks_rest_store", store_uri, artifact_uri)


def rest_store(store_uri: str, artifact_uri: str | None = None) -> Any:
    """Build MLflow's store for an MLflow server at ``http://`` or ``https://``."""
    return _replicated("_get_rest_store", store_uri, artifact_uri)


def sql_store(store_uri: str, artifact_uri: str | None = None) -> Any:
    """Build MLflow's store for ``sqlite://``; a local backend's artifacts lie beside its database."""
    from adbazureml.workspaces import local_artifact_folder, quiet_migrations

    beside = local_artifact_folder(store_uri)
    if beside is not None:
        quiet_migrations()
    return _replicated("_get_sqlalchemy_store", store_uri, artifact_uri or beside)


def dual_store(store_uri: str, artifact_uri: str | None = None) -> Any:
    """Turn mode "both" on for an ``adbazureml://`` URI, and build MLflow's store for ``databricks``."""
    import mlflow

    pair = StorePair.at(store_uri)
    pair.switch_on()
    mlflow.set_tracking_uri(pair.primary_uri)
    return databricks_store(pair.primary_uri, artifact_uri)


def _replicated(builder: str, store_uri: str, artifact_uri: str | None) -> Any:
    from mlflow.tracking._tracking_service import utils

    from adbazureml.tracking.dual_store import dual_store_class
    from adbazureml.tracking.watched_artifacts import watch_artifacts

    watch_artifacts()
    # The private means, the same in 3.0 and 3.8 (pinned by tests): MLflow's own builders; and the queue of asynchronous
    # logging, which keeps the log_batch that the store had when it was built.
    store = getattr(utils, builder)(store_uri=store_uri, artifact_uri=artifact_uri)
    built_class: Any = type(store)
    store.__class__ = dual_store_class(built_class)
    store.adbazureml_uri = store_uri
    store._async_logging_queue._logging_func = store.log_batch
    return store


if os.environ.get(_URI, "").startswith(f"{SCHEME}:"):
    _pair = StorePair.at(os.environ[_URI])
    _pair.switch_on()
    os.environ[_URI] = _pair.primary_uri
