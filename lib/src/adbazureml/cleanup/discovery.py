"""Find what the project made, by the names in the settings and by who made it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.azureml_mlflow import experiment_names
from adbazureml.cleanup.items import KINDS, Inventory, Item, moment
from adbazureml.cleanup.resource_group import resource_group
from adbazureml.cleanup.tables import tables
from adbazureml.deployment import endpoints
from adbazureml.errors import AdbAzureMLError
from adbazureml.registry.model_names import azureml_model_name
from adbazureml.registry.version_tags import RUN_ID
from adbazureml.settings import Settings
from adbazureml.text import first_line
from adbazureml.tracking import run_tags
from adbazureml.workspaces import AzureMLWorkspace, DatabricksWorkspace, Workspace
from adbazureml.workspaces.link import show_link

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

    from adbazureml.deployment.target import Kind

_PAGE = 500
Found = tuple[list[Item], list[str]]


def inventory(settings: Settings, *, workspace: AzureMLWorkspace | None = None) -> Inventory:
    """List the project's endpoint, model versions, runs, tables and checkpoints, and what holds them; changes nothing.

    A name is not enough. Runs are those of the experiment, in Azure ML their counterparts; a model version has to
    come from one of these runs; a table has to be one that this package wrote, for these models only. What has such a
    name and fails this is told apart, and never deleted.

    Parameters
    ----------
    settings : Settings
        Name the experiment, the model, the endpoint and the tables.
    workspace : AzureMLWorkspace, optional
        The Azure ML workspace; without it Databricks alone is looked at.

    Raises
    ------
    WorkspaceError
        A workspace does not answer.
    """
    databricks = DatabricksWorkspace.current()
    runs = _all_runs(databricks, settings.experiment_name)
    known = {run.info.run_id for run in runs}
    versions, listed, left = [], _active(databricks, runs), []
    places: list[tuple[Workspace, Sequence[str]]] = [(databricks, settings.model_names)]
    if workspace is not None:
        counterparts, others = _counterpart_runs(workspace, settings.experiment_name, known)
        listed += _active(workspace, counterparts)
        if others:
            left.append(f"{others} runs of that experiment in Azure ML belong to another Databricks workspace.")
        known |= {run.info.run_id for run in counterparts}
        places.append((workspace, [azureml_model_name(model) for model in settings.model_names]))
    for place, models in places:
        for model in models:
            ours, others_too = _versions(place, model, known)
            versions += ours
            left += others_too
    data, other_data = tables(settings)
    link, no_link = _link(settings, workspace)
    group, why = resource_group(settings, workspace)
    serving, other_serving = _endpoints(settings, workspace)
    items = [*serving, *versions, *listed, *data, *link, *group]
    items.sort(key=lambda item: KINDS.index(item.kind))
    return Inventory(settings, workspace, tuple(items), tuple(other_serving + left + other_data + no_link + why))


def _endpoints(settings: Settings, workspace: AzureMLWorkspace | None) -> Found:
    """Endpoints of that name, wherever they may run, that serve these models alone."""
    kinds: list[Kind] = ["local"]
    if workspace is not None and workspace.arm_id:
        kinds += ["azureml", "aks", "aci"]
    if runtime.on_databricks():
        kinds.append("databricks")
    items: list[Item] = []
    left: list[str] = []
    for kind in kinds:
        try:
            named = [one for one in endpoints(target=kind, workspace=workspace) if one.name == settings.endpoint_name]
            states = [endpoint.status() for endpoint in named]
        except Exception as error:
            left.append(f"endpoints ({kind}): they can't be listed ({first_line(error)}).")
            continue
        for state in states:
            others = sorted({one.model or one.name for one in state.deployments if not _is_ours(one.model, settings)})
            if others:
                left.append(f"endpoint {state.name} ({kind}): it serves {', '.join(others)} too.")
                continue
            made = min((one.made for one in state.deployments if one.made), default=None)
            items.append(Item(kind="endpoint", name=state.name, where=kind, made=made, link=state.page or state.url))
    return items, left


def _is_ours(model_uri: str, settings: Settings) -> bool:
    name = model_uri.removeprefix("models:/").rpartition("/")[0]
    return name in {one for model in settings.model_names for one in (model, azureml_model_name(model))}


def _link(settings: Settings, workspace: AzureMLWorkspace | None) -> Found:
    """The link from the Databricks workspace that is named, or that this runs in; elsewhere there is none to ask."""
    if workspace is None or not (settings.databricks_workspace or runtime.on_databricks()):
        return [], []
    try:
        link = show_link(workspace, databricks=settings.databricks_workspace)
    except AdbAzureMLError as error:
        return [], [f"the link of the two workspaces: it can't be looked up ({error})."]
    if link.databricks is None or not link.is_set:
        return [], []
    name = f"{link.databricks.name} to {workspace.name}"
    note = "all users of the Databricks workspace share it; no run needs it"
    return [Item(kind="link", name=name, where=link.databricks.resource_id, link=link.portals[0], note=note)], []


def _versions(place: Workspace, model: str, runs: set[str]) -> Found:
    """Versions that come from these runs, and the model itself where no other version is left then."""
    from mlflow.exceptions import MlflowException

    client = place.client()
    try:
        registered = client.get_registered_model(model)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            return [], []
        raise
    ours: list[ModelVersion] = []
    others: list[ModelVersion] = []
    for version in _all_versions(place, model):
        # Unity Catalog finds versions without their tags.
        whole = version if version.tags else client.get_model_version(model, version.version)
        comes_from = whole.run_id in runs or whole.tags.get(RUN_ID) in runs
        (ours if comes_from else others).append(version)
    items = [
        Item(
            kind="model version",
            name=f"{model}/{version.version}",
            where=place.registry_uri,
            made=moment(version.creation_timestamp),
            link=place.model_url(model, str(version.version)),
            workspace=place,
        )
        for version in ours
    ]
    if others:
        numbers = ", ".join(str(version.version) for version in others)
        return items, [f"version {numbers} of model {model} in {place.name}: no run of this experiment made it."]
    made = moment(registered.creation_timestamp)
    return [*items, Item(kind="model", name=model, where=place.registry_uri, made=made, workspace=place)], []


def _all_versions(place: Workspace, model: str) -> Iterator[ModelVersion]:
    token = None
    while True:
        page = place.client().search_model_versions(f"name = '{model}'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _counterpart_runs(workspace: AzureMLWorkspace, experiment: str, known: set[str]) -> tuple[list[Run], int]:
    """The runs in Azure ML of a Databricks experiment, and how many others share their experiment there.

    A run without the tag was tracked in Azure ML alone, under the experiment's own name or the one it has there.
    """
    counterparts, others = {}, 0
    for name in {experiment_names.azureml_experiment_name(experiment), experiment}:
        for run in _all_runs(workspace, name):
            origin = run.data.tags.get(run_tags.DATABRICKS_RUN_ID)
            if origin is None or origin in known:
                counterparts[run.info.run_id] = run
            else:
                others += 1
    return list(counterparts.values()), others


def _all_runs(place: Workspace, experiment: str) -> list[Run]:
    """The runs of an experiment, deleted ones too, whose versions may still be there."""
    from mlflow.entities import ViewType

    client = place.client()
    found = client.get_experiment_by_name(experiment)
    runs: list[Run] = []
    token = None
    while found is not None:
        page = client.search_runs(
            [found.experiment_id], run_view_type=ViewType.ALL, max_results=_PAGE, page_token=token
        )
        runs += page
        token = page.token
        if not token:
            break
    return runs


def _active(place: Workspace, runs: list[Run]) -> list[Item]:
    return [
        Item(
            kind="run",
            name=run.info.run_id,
            where=place.tracking_uri,
            made=moment(run.info.start_time),
            link=place.run_url(run.info.experiment_id, run.info.run_id),
            note=run.info.run_name or "",
            workspace=place,
        )
        for run in runs
        if run.info.lifecycle_stage == "active"
    ]
