"""The two tracking stores that mode "both" keeps equal: the primary, which is the truth, and its replica.

The pair lives in one environment variable, so that processes started from a notebook share it and nothing of MLflow is
patched by switching modes.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import Run

    from adbazureml.workspaces import Workspace

SCHEME = "adbazureml"
_VARIABLE = "_ADBAZUREML_BOTH"


@dataclass(frozen=True, kw_only=True)
class StorePair:
    """A primary tracking store, usually Databricks, and the replica that follows it, usually Azure ML.

    Attributes
    ----------
    primary_uri, replica_uri : str
        MLflow tracking URIs.
    primary_page, replica_page : str
        Address of a run's page, with ``{experiment_id}`` and ``{run_id}`` to be filled in.
    strict : bool
        Whether the end of a run fails when its counterpart could not be made equal.
    """

    primary_uri: str
    primary_page: str
    replica_uri: str
    replica_page: str
    # No part of what a pair is: one that becomes strict keeps what its processes still have to write.
    strict: bool = field(default=False, compare=False)

    @classmethod
    def of(cls, primary: Workspace, replica: Workspace, *, strict: bool = False) -> StorePair:
        """Pair two workspaces."""
        return cls(
            primary_uri=primary.tracking_uri,
            primary_page=primary.run_url("{experiment_id}", "{run_id}"),
            replica_uri=replica.tracking_uri,
            replica_page=replica.run_url("{experiment_id}", "{run_id}"),
            strict=strict,
        )

    @classmethod
    def at(cls, uri: str) -> StorePair:
        """Pair the Databricks workspace at hand with the Azure ML workspace of an ``adbazureml://`` URI.

        Parameters
        ----------
        uri : str
            The workspace's ``azureml://`` tracking URI, with this scheme instead.
        """
        from adbazureml.workspaces import AzureMLWorkspace

        azureml_uri = uri.replace(f"{SCHEME}:", "azureml:", 1)
        return cls(
            primary_uri="databricks",
            primary_page="",
            replica_uri=azureml_uri,
            replica_page=AzureMLWorkspace.from_uri(azureml_uri).run_url("{experiment_id}", "{run_id}"),
        )

    @property
    def primary(self) -> Any:
        """The primary's tracking store, an `AbstractStore`."""
        return _store(self.primary_uri)

    @property
    def replica(self) -> Any:
        """The replica's tracking store, an `AbstractStore` whose requests have the replica's own time limits.

        Stores are used rather than `MlflowClient`, which prints a link when a run ends and adds the caller's active
        model to each metric.
        """
        return _replica_store(self.replica_uri)

    def primary_url(self, run: Run) -> str:
        """Page of a run of the primary."""
        return _filled(self.primary_page or _databricks_page(self.primary_uri), run)

    def replica_url(self, run: Run) -> str:
        """Page of a run of the replica."""
        return _filled(self.replica_page, run)

    def switch_on(self) -> None:
        """Let every store of the primary's URI, in this process and those it starts, replicate what is written."""
        os.environ[_VARIABLE] = json.dumps(asdict(self))


def current_pair() -> StorePair | None:
    """Return the pair that mode "both" keeps equal, None in the other modes."""
    text = os.environ.get(_VARIABLE)
    return _read(text) if text else None


def switch_off() -> None:
    """Leave mode "both"."""
    os.environ.pop(_VARIABLE, None)


@lru_cache(maxsize=8)
def _read(text: str) -> StorePair:
    return StorePair(**json.loads(text))


def _store(uri: str) -> Any:
    from mlflow.tracking._tracking_service import utils

    # Private, and the same in 3.0 and 3.8 (pinned by a test): MLflow keeps one store a URI, made under its own lock.
    return utils._get_store(uri)


@lru_cache(maxsize=8)
def _replica_store(uri: str) -> Any:
    from adbazureml.tracking.replica_store import replica_store

    return replica_store(_store(uri))


def _databricks_page(uri: str) -> str:
    from mlflow.utils.databricks_utils import get_databricks_host_creds

    return f"{get_databricks_host_creds(uri).host}/ml/experiments/{{experiment_id}}/runs/{{run_id}}"


def _filled(page: str, run: Run) -> str:
    return page.replace("{experiment_id}", run.info.experiment_id).replace("{run_id}", run.info.run_id)
