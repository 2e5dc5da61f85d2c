"""List what the walk made in both workspaces, and delete it once the experiment's name was typed again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.datasets import is_sample
from adbazureml.deployment import endpoints
from adbazureml.errors import CleanUpError
from adbazureml.registry import azureml_model_name
from adbazureml.settings import Settings
from adbazureml.tracking.names import azureml_experiment_name
from adbazureml.workspace import AzureMLWorkspace, DatabricksWorkspace, Workspace

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing that the walk made.

    Attributes
    ----------
    kind : {"endpoint", "model version", "run", "table"}
    name : str
        Name or id.
    where : str
        Tracking URI of the workspace that holds it; empty for an endpoint or table.
    made : str
        When, as ``YYYY-MM-DD HH:MM`` UTC, where that is known.
    link : str
        Its page.
    """

    kind: str
    name: str
    where: str = ""
    made: str = ""
    link: str = ""


@dataclass(frozen=True)
class Inventory:
    """What there is, in the order in which it would be deleted."""

    experiment: str
    items: tuple[Item, ...]
    deleted: bool = False

    def to_pandas(self) -> pd.DataFrame:
        """One row an item."""
        import pandas as pd

        return pd.DataFrame([asdict(item) for item in self.items], columns=list(Item.__dataclass_fields__))

    def _repr_html_(self) -> str:
        if not self.items:
            return "<p>Nothing of the walk is left.</p>"
        said = "Deleted" if self.deleted else "Would be deleted (nothing was)"
        return f"<p>{said}: {len(self.items)} things.</p>" + self.to_pandas().to_html(index=False, render_links=True)


def inventory(settings: Settings, *, workspace: AzureMLWorkspace | None = None) -> Inventory:
    """List the walk's endpoint, model versions, runs and tables, by the names in the settings; changes nothing.

    A training or scoring table of the user's own is not listed: the walk did not make it.
    """
    items = [
        Item(kind="endpoint", name=endpoint.name, link=endpoint.url)
        for endpoint in endpoints()
        if endpoint.name == settings.endpoint_name
    ]
    databricks = DatabricksWorkspace.current()
    places: list[tuple[Workspace, str, str]] = [
        (databricks, settings.model_name, settings.experiment_name),
        (databricks, settings.spark_model_name, ""),
    ]
    if workspace is not None:
        places += [
            (workspace, azureml_model_name(settings.model_name), azureml_experiment_name(settings.experiment_name)),
            (workspace, azureml_model_name(settings.spark_model_name), ""),
            # Mode "azureml" tracks there under the name as it is.
            (workspace, "", settings.experiment_name),
        ]
    for place, model, _ in places:
        items += _versions(place, model) if model else []
    for place, _, experiment in places:
        items += _runs(place, experiment) if experiment else []
    items += [Item(kind="table", name=table) for table in _tables(settings)]
    return Inventory(settings.experiment_name, tuple(items))


def clean_up(found: Inventory, *, confirm: str) -> Inventory:
    """Delete what an inventory lists: endpoints first, then model versions, runs, tables.

    Parameters
    ----------
    confirm : str
        The experiment's name, typed once more.

    Raises
    ------
    CleanUpError
        ``confirm`` is something else: nothing is deleted. Or an item could not be deleted: those before it are gone,
        and calling again goes on with the rest.
    """
    if confirm != found.experiment:
        raise CleanUpError(f"confirm {confirm!r}: to delete, type the experiment's name: {found.experiment!r}.")
    for item in found.items:
        try:
            _delete(item)
        except Exception as error:
            raise CleanUpError(
                f"{item.kind} {item.name!r} could not be deleted: {error} Run again to go on."
            ) from error
    return Inventory(found.experiment, found.items, deleted=True)


def _client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _when(milliseconds: int | None) -> str:
    return datetime.fromtimestamp((milliseconds or 0) / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M")


def _versions(place: Workspace, model: str) -> Iterator[Item]:
    for version in place.client().search_model_versions(f"name = '{model}'"):
        yield Item(
            kind="model version",
            name=f"{model}/{version.version}",
            where=place.registry_uri,
            made=_when(version.creation_timestamp),
            link=place.model_url(model, str(version.version)),
        )


def _runs(place: Workspace, experiment: str) -> Iterator[Item]:
    client = place.client()
    found = client.get_experiment_by_name(experiment)
    token = None
    while found is not None:
        page = client.search_runs([found.experiment_id], page_token=token)
        for run in page:
            info = run.info
            link = place.run_url(info.experiment_id, info.run_id)
            yield Item(kind="run", name=info.run_id, where=place.tracking_uri, made=_when(info.start_time), link=link)
        token = page.token
        if not token:
            return


def _tables(settings: Settings) -> list[str]:
    named = [settings.predictions_table, settings.scoring_table, settings.training_table]
    made_here = [table for table in named if table == settings.predictions_table or is_sample(table)]
    if runtime.on_databricks():
        return [table for table in made_here if runtime.table_exists(table)]
    there = runtime.registered_tables()
    return [table for table in made_here if table in there]


def _delete(item: Item) -> None:
    if item.kind == "endpoint":
        for endpoint in endpoints():
            if endpoint.name == item.name:
                endpoint.delete(confirm=endpoint.name)
    elif item.kind == "model version":
        model, _, version = item.name.rpartition("/")
        client = _client(item.where)
        client.delete_model_version(model, version)
        if not client.search_model_versions(f"name = '{model}'"):
            client.delete_registered_model(model)
    elif item.kind == "run":
        _client(item.where).delete_run(item.name)
    else:
        runtime.drop_table(item.name)
