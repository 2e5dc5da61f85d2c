"""The two workspaces: their names, ids, tracking stores and links. Without a cloud, stand-ins in a local folder."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

from adbazureml import runtime
from adbazureml.errors import WorkspaceError
from adbazureml.settings import Settings

# Where `make ui` shows the stand-ins' tracking stores.
_LOCAL_UI = {"databricks": "http://127.0.0.1:5000/#", "azureml": "http://127.0.0.1:5001/#"}


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """What both workspaces have in common.

    Attributes
    ----------
    name : str
        Name of the workspace; of a local stand-in, its folder.
    tracking_uri : str
        MLflow tracking URI.
    registry_uri : str
        MLflow registry URI.
    url : str
        Address of its machine learning pages for a browser, to which ``/experiments/…`` is added.
    """

    name: str
    tracking_uri: str
    registry_uri: str
    url: str

    def experiment_url(self, experiment_id: str) -> str:
        """Address of an experiment's page."""
        return f"{self.url}/experiments/{experiment_id}"

    def run_url(self, experiment_id: str, run_id: str) -> str:
        """Address of a run's page."""
        return f"{self.experiment_url(experiment_id)}/runs/{run_id}"

    def model_url(self, name: str, version: str) -> str:
        """Address of a model version's page."""
        return f"{self.url}/models/{name}/versions/{version}"

    def _repr_html_(self) -> str:
        rows = {
            "workspace": escape(self.name),
            "tracking URI": f"<code>{escape(self.tracking_uri)}</code>",
            "registry URI": f"<code>{escape(self.registry_uri)}</code>",
            "page": f'<a href="{escape(self.url)}">{escape(self.url)}</a>',
        }
        body = "".join(f"<tr><td>{key}</td><td>{value}</td></tr>" for key, value in rows.items())
        return f"<table><tr><th colspan='2'>{type(self).__name__}</th></tr>{body}</table>"


@dataclass(frozen=True, kw_only=True, repr=True)
class AzureMLWorkspace(Workspace):
    """An Azure Machine Learning workspace, or its local stand-in."""

    @classmethod
    def get(cls, *, name: str, subscription_id: str, resource_group: str) -> AzureMLWorkspace:
        """Find the workspace; with all three names empty, the local stand-in.

        Raises
        ------
        WorkspaceError
            A workspace in Azure is named: this version knows the stand-in only.
        """
        if name or subscription_id or resource_group:
            raise WorkspaceError(
                f"workspace_name {name!r}: this version does not reach Azure ML workspaces in Azure yet. Leave "
                "subscription_id, resource_group and workspace_name empty; on Databricks, also set tracking and "
                "registry to 'databricks'."
            )
        if runtime.on_databricks():
            raise WorkspaceError(
                "workspace_name is empty, and the local stand-in is for local machines: on Databricks set tracking and "
                "registry to 'databricks'."
            )
        return cls(**_stand_in("azureml"))

    @classmethod
    def of(cls, settings: Settings) -> AzureMLWorkspace | None:
        """Find the workspace that the settings name; None when both tracking and registry are Databricks' alone.

        Raises
        ------
        WorkspaceError
            As `get`.
        """
        if settings.tracking == settings.registry == "databricks":
            return None
        return cls.get(
            name=settings.workspace_name,
            subscription_id=settings.subscription_id,
            resource_group=settings.resource_group,
        )

    def get_mlflow_tracking_uri(self) -> str:
        """Tracking URI of the workspace, by the name that azureml-core gave this call."""
        return self.tracking_uri


@dataclass(frozen=True, kw_only=True, repr=True)
class DatabricksWorkspace(Workspace):
    """The Databricks workspace that runs the notebook, or its local stand-in."""

    @classmethod
    def current(cls) -> DatabricksWorkspace:
        """Return the workspace of this notebook."""
        if not runtime.on_databricks():
            return cls(**_stand_in("databricks"))
        from databricks.sdk import WorkspaceClient

        client = WorkspaceClient()
        return cls(
            name=f"{client.get_workspace_id()}",
            tracking_uri="databricks",
            registry_uri="databricks-uc",
            url=f"{client.config.host}/ml",
        )

    def model_url(self, name: str, version: str) -> str:
        """Address of a model version's page; Unity Catalog's for a name in three parts."""
        if name.count(".") == 2 and self.url.endswith("/ml"):
            host = self.url.removesuffix("/ml")
            return f"{host}/explore/data/models/{name.replace('.', '/')}/version/{version}"
        return super().model_url(name, version)


def stand_in_artifacts(tracking_uri: str) -> str | None:
    """Folder for the artifacts of a stand-in's tracking store, beside its database; None for any other store."""
    folder = Path(tracking_uri.removeprefix("sqlite:///")).parent
    return str(folder / "artifacts") if folder.parent == runtime.home_path() else None


def _stand_in(kind: str) -> dict[str, str]:
    folder = runtime.home() / kind
    folder.mkdir(exist_ok=True)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    return {"name": str(folder), "tracking_uri": uri, "registry_uri": uri, "url": _LOCAL_UI[kind]}
