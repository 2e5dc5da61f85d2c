"""The resource group of the Azure ML workspace: what is in it, whose it is, and deleting it as the portal does.

The group goes only where all that is in it is this project's: the Azure ML workspace, what Azure makes along with one,
and the project's own endpoints; and where nobody else uses that workspace.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from adbazureml.azure.clouds import current_cloud
from adbazureml.azure.credential import credential_for
from adbazureml.azure.long_operations import resource_client, wait_for
from adbazureml.azureml_mlflow.experiment_names import azureml_experiment_name
from adbazureml.cleanup.items import Item
from adbazureml.errors import CleanUpError
from adbazureml.registry.model_names import azureml_model_name

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError
    from azure.mgmt.resource.resources import ResourceManagementClient

    from adbazureml.settings import Settings
    from adbazureml.workspaces import AzureMLWorkspace

# API versions of the two kinds of resource that name others.
_WORKSPACE_API, _INSIGHTS_API = "2024-04-01", "2020-02-02"
_NAMED_BY_WORKSPACE = ("storageAccount", "keyVault", "applicationInsights", "containerRegistry")
# Azure Monitor makes these two beside any Application Insights.
_SMART_DETECTION = {
    "microsoft.insights/actiongroups": "application insights smart detection",
    "microsoft.alertsmanagement/smartdetectoralertrules": "failure anomalies - ",
}
_HINTS = {
    "AuthorizationFailed": "Have somebody with the role 'Contributor' on the group delete it",
    "ScopeLocked": "Remove the lock first, if it may go: the portal shows it under Locks",
}
_MOST_NAMED = 5


def resource_group(settings: Settings, workspace: AzureMLWorkspace | None) -> tuple[list[Item], list[str]]:
    """List the workspace's resource group, or tell why it may not be deleted; nothing for a local backend."""
    from azure.core.exceptions import AzureError, ResourceNotFoundError

    if workspace is None or not workspace.arm_id:
        return [], []
    name = settings.resource_group
    try:
        with _client(settings) as client:
            resources = list(client.resources.list_by_resource_group(name))
            others = _others(client, settings, workspace, resources)
    except ResourceNotFoundError:
        return [], []
    except AzureError as error:
        return [], [f"resource group {name}: it can't be looked into ({_explain_error(error)})."]
    if others:
        more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
        return [], [f"resource group {name}: it also holds {', '.join(others[:_MOST_NAMED])}{more}."]
    note = f"all of {', '.join(sorted(str(resource.name) for resource in resources))}"
    group_id = workspace.arm_id.partition("/providers/")[0]
    return [Item(kind="resource group", name=name, where=group_id, link=_page(settings, group_id), note=note)], []


def delete_resource_group(settings: Settings, workspace: AzureMLWorkspace, *, timeout: float) -> None:
    """Delete the group and all that is in it, and wait until it is gone.

    It is looked into again: what came into it since it was listed keeps it.

    Raises
    ------
    CleanUpError
        Something in it is not this project's, or Azure refuses.
    WorkspaceError
        It is not gone in time; Azure goes on deleting it.
    """
    from azure.core.exceptions import AzureError, ResourceNotFoundError

    name = settings.resource_group
    found, why = resource_group(settings, workspace)
    if why:
        raise CleanUpError(f"It is not deleted. {why[0][0].upper()}{why[0][1:]} Remove or move that first.")
    if not found:
        return
    late = f"It goes on: look at {found[0].link}, and run this again later to see whether it is gone."
    try:
        with _client(settings) as client:
            poller = client.resource_groups.begin_delete(name)
            wait_for(poller, what=f"resource group {name}", timeout=timeout, if_late=late)
    except ResourceNotFoundError:
        return
    except AzureError as error:
        raise CleanUpError(f"Azure did not delete it: {_explain_error(error)}.") from error


def _client(settings: Settings) -> ResourceManagementClient:
    return resource_client(credential_for(current_cloud(settings.cloud)), settings.subscription_id)


def _others(
    client: ResourceManagementClient, settings: Settings, workspace: AzureMLWorkspace, resources: list[Any]
) -> list[str]:
    """What in the group is not this project's, with its kind."""
    ids = [workspace.arm_id, *_beside(client, workspace.arm_id)]
    endpoint = f"{workspace.arm_id}/onlineEndpoints/{settings.endpoint_name}"
    ours = {one.lower() for one in ids}

    def is_ours(resource: Any) -> bool:
        resource_id, kind, name = resource.id.lower(), resource.type.lower(), resource.name.lower()
        of_endpoint = resource_id == endpoint.lower() or resource_id.startswith(f"{endpoint.lower()}/")
        return resource_id in ours or of_endpoint or name.startswith(_SMART_DETECTION.get(kind, "\0"))

    others = [f"{resource.type} {resource.name}" for resource in resources if not is_ours(resource)]
    return others + [f"in Azure ML {other}" for other in _others_work(workspace, settings)]


def _beside(client: ResourceManagementClient, workspace_id: str) -> Iterator[str]:
    """The resources that the workspace uses: storage, key vault, registry, insights and the logs behind them."""
    from azure.core.exceptions import ResourceNotFoundError

    properties = client.resources.get_by_id(workspace_id, api_version=_WORKSPACE_API).properties or {}
    for name in _NAMED_BY_WORKSPACE:
        if properties.get(name):
            yield properties[name]
    insights = properties.get("applicationInsights")
    if insights is None:
        return
    # Somebody may have deleted it by hand.
    with suppress(ResourceNotFoundError):
        behind = client.resources.get_by_id(insights, api_version=_INSIGHTS_API).properties or {}
        if logs := behind.get("WorkspaceResourceId"):
            yield logs


def _others_work(workspace: AzureMLWorkspace, settings: Settings) -> Iterator[str]:
    """Experiments with runs, and models, that are not of this project."""
    client = workspace.client()
    experiment = settings.experiment_name
    for found in client.search_experiments():
        if found.name not in (experiment, azureml_experiment_name(experiment)) and client.search_runs(
            [found.experiment_id], max_results=1
        ):
            yield f"experiment {found.name}"
    models = {azureml_model_name(name) for name in settings.model_names}
    for model in client.search_registered_models():
        if model.name not in models:
            yield f"model {model.name}"


def _page(settings: Settings, group_id: str) -> str:
    return f"{current_cloud(settings.cloud).portal}/#resource{quote(group_id)}/overview"


def _explain_error(error: AzureError) -> str:
    told = getattr(error, "error", None)
    text = f"{told.code}: {told.message}" if told else str(error.message)
    hint = _HINTS.get(told.code) if told else ""
    return text.strip().splitlines()[0].rstrip(".") + (f". {hint}" if hint else "")
