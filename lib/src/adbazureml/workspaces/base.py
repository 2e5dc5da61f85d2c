"""What the Databricks workspace and the Azure ML workspace have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adbazureml.text import html

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A workspace with an MLflow tracking store, a model registry and pages for a browser.

    Attributes
    ----------
    name : str
        Name of the workspace; of a local backend, its folder.
    tracking_uri : str
        MLflow tracking URI.
    registry_uri : str
        MLflow registry URI.
    url : str
        Address of its machine learning pages for a browser.
    """

    name: str
    tracking_uri: str
    registry_uri: str
    url: str

    def client(self) -> MlflowClient:
        """Return an MLflow client of this workspace's tracking store and registry, whatever MLflow's own URIs are."""
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.registry_uri)

    def experiment_url(self, experiment_id: str) -> str:
        """Address of an experiment's page."""
        return f"{self.url}/experiments/{experiment_id}"

    def run_url(self, experiment_id: str, run_id: str) -> str:
        """Address of a run's page."""
        return f"{self.url}/experiments/{experiment_id}/runs/{run_id}"

    def model_url(self, name: str, version: str) -> str:
        """Address of a model version's page."""
        return f"{self.url}/models/{name}/versions/{version}"

    def facts(self) -> dict[str, str]:
        """What is known of the workspace beyond its URIs, for a table: a name and a value, which may be an address."""
        return {}

    def described(self) -> dict[str, str]:
        """Name, URIs, page and facts, for a table."""
        uris = {"tracking URI": self.tracking_uri, "registry URI": self.registry_uri}
        return {"workspace": self.name, **uris, "page": self.url, **self.facts()}

    def _repr_html_(self) -> str:
        return html.html_table(self.described().items(), titles=("", type(self).__name__))
