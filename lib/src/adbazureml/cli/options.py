"""What several commands share: the options that name the workspaces, and the workspaces themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import click

from adbazureml import runtime
from adbazureml.errors import WorkspaceError
from adbazureml.settings import Settings
from adbazureml.workspaces import AzureMLWorkspace, DatabricksWorkspace
from adbazureml.workspaces.databricks import is_signed_in
from adbazureml.workspaces.probe import probe_service

Command = TypeVar("Command", bound=Callable[..., Any])
NONE_NAMED = "no Azure ML workspace is named: give --subscription-id, --resource-group and --workspace-name."
_AZUREML = ("workspace_name", "subscription_id", "resource_group", "cloud")


def azureml_options(command: Command) -> Command:
    """Add the options that name the Azure ML workspace, described as the parameters of the same names are."""
    for name in reversed(_AZUREML):
        description = Settings.model_fields[name].description
        flag = f"--{name.replace('_', '-')}"
        command = click.option(flag, default=None, help=f"{description} [{_variable(name)}]")(command)
    return command


def settings_of(given: Mapping[str, str | None]) -> Settings:
    """Check what the options say, together with the environment's variables and the defaults.

    Raises
    ------
    SettingsError
        Names each that is wrong.
    """
    return Settings.from_environment(**{name: value for name, value in given.items() if value is not None})


def azureml_of(settings: Settings) -> AzureMLWorkspace:
    """Find the Azure ML workspace that a link leads to; a local backend has none.

    Raises
    ------
    WorkspaceError
        None is named, or as `AzureMLWorkspace.get`.
    """
    check_named(settings)
    return AzureMLWorkspace.get(
        name=settings.workspace_name,
        subscription_id=settings.subscription_id,
        resource_group=settings.resource_group,
        cloud=settings.cloud,
        secret_scope=settings.secret_scope,
        service_credential=settings.service_credential,
    )


def check_named(settings: Settings) -> None:
    """Refuse settings that name no Azure ML workspace.

    Raises
    ------
    WorkspaceError
        They name none.
    """
    if not settings.workspace_name:
        raise WorkspaceError(NONE_NAMED)


@contextmanager
def talking_to(settings: Settings) -> Iterator[tuple[AzureMLWorkspace | None, str]]:
    """Find both workspaces, say which they are, and give the Azure ML one and the experiment's name.

    The Databricks workspace is the one that this machine is signed in to, or the local backend where it is to none.

    Raises
    ------
    WorkspaceError
        One of them does not answer, or nothing was ever tracked on this machine.
    """
    if not is_signed_in() and not settings.workspace_name and not runtime.home_path().is_dir():
        raise WorkspaceError(
            f"Nothing was tracked on this machine yet: there is no folder {runtime.home_path()}. Go to the project's"
            f" folder, set {runtime.HOME_VARIABLE}, or sign in to a Databricks workspace and name the Azure ML one."
        )
    workspace = AzureMLWorkspace.of(settings)
    with DatabricksWorkspace.signed_in() if is_signed_in() else nullcontext():
        databricks = DatabricksWorkspace.current()
        if workspace is not None and workspace.arm_id:
            probe_service(workspace)
        in_cloud = is_signed_in() or runtime.on_databricks()
        click.echo(f"Databricks: {databricks.url if in_cloud else _local_backend(databricks.name)}", err=True)
        azureml = (
            "not used" if workspace is None else workspace.url if workspace.arm_id else _local_backend(workspace.name)
        )
        click.echo(f"Azure ML:   {azureml}", err=True)
        yield workspace, settings.experiment_name


def _local_backend(folder: str) -> str:
    return f"the local backend in {folder}"


def _variable(name: str) -> str:
    return f"ADBAZUREML_{name.upper()}"
