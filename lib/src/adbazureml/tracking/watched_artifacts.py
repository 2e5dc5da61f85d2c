"""Hear of the artifacts that this process writes to a run after its end: they never pass through a tracking store.

As with the stores, the repository is the very one that MLflow builds; its class is swapped for a subclass that tells
the outbox what was written. While nothing is replicated, the subclass does nothing but call its parent.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from adbazureml.tracking.store_pair import current_pair

# Those lead to the repositories of other schemes, or to Azure ML.
_NOT_WATCHED = ("runs", "models", "azureml")
_RUN = re.compile(r"/(?P<run_id>[0-9a-f]{32})/artifacts(?:/|$)")


@functools.cache
def watch_artifacts() -> None:
    """Have the repositories that MLflow builds from now on tell of what is written."""
    from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories

    registered: dict[str, Any] = get_registered_artifact_repositories()
    for scheme, builder in list(registered.items()):
        if scheme not in _NOT_WATCHED:
            registered[scheme] = _watched(builder)


def _watched(builder: Any) -> Callable[..., Any]:
    @functools.wraps(builder, updated=())
    def build(artifact_uri: str, *arguments: Any, **options: Any) -> Any:
        import mlflow

        repository = builder(artifact_uri, *arguments, **options)
        if found := _RUN.search(artifact_uri):
            built_class: Any = type(repository)
            repository.__class__ = _watched_class(built_class)
            repository._adbazureml_run_id = found["run_id"]
            # MLflow 3.0 goes by the tracking URI in use, and gives none.
            repository._adbazureml_tracking_uri = options.get("tracking_uri") or mlflow.get_tracking_uri()
        return repository

    return build


@functools.cache
def _watched_class(repository_class: Any) -> Any:
    class WatchedRepository(repository_class):
        """MLflow's own repository, and the outbox."""

        def log_artifact(self, *arguments: Any, **options: Any) -> None:
            repository_class.log_artifact(self, *arguments, **options)
            _tell(self)

        def log_artifacts(self, *arguments: Any, **options: Any) -> None:
            repository_class.log_artifacts(self, *arguments, **options)
            _tell(self)

    WatchedRepository.__name__ = WatchedRepository.__qualname__ = repository_class.__name__
    return WatchedRepository


def _tell(repository: Any) -> None:
    pair = current_pair()
    if pair is not None and repository._adbazureml_tracking_uri == pair.primary_uri:
        from adbazureml.tracking.outbox import outbox_of

        outbox_of(pair).wrote_files(repository._adbazureml_run_id)
