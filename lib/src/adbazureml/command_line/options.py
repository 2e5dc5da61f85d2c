"""What several commands share: the options that name the workspaces, and the workspaces themselves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from adbazureml.settings import Settings
from adbazureml.workspace import AzureMLWorkspace, DatabricksWorkspace

Command = TypeVar("Command", bound=Callable[..., Any])
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


@contextmanager
def talking_to(settings: Settings) -> Iterator[tuple[AzureMLWorkspace | None, str]]:
    """Find both workspaces, say which they are, and give the Azure ML one and the experiment's name.

    The Databricks workspace is the one that the environment signs in to, or the stand-in where it does not.
    """
    workspace = AzureMLWorkspace.of(settings)
    signed_in = any(os.environ.get(name) for name in ("DATABRICKS_HOST", "DATABRICKS_CONFIG_PROFILE"))
    with DatabricksWorkspace.signed_in() if signed_in else _nothing():
        databricks = DatabricksWorkspace.current()
        click.echo(f"Databricks: {databricks.url or databricks.name}", err=True)
        click.echo(f"Azure ML:   {workspace.url or workspace.name if workspace else 'not used'}", err=True)
        yield workspace, settings.experiment_name


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _variable(name: str) -> str:
    return f"ADBAZUREML_{name.upper()}"
