"""The commands, each a few lines around one call of a room."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import click

from adbazureml.cli.error_messages import explain_error
from adbazureml.cli.options import azureml_of, azureml_options, check_named, settings_of, talking_to
from adbazureml.errors import AdbAzureMLError
from adbazureml.settings import Settings
from adbazureml.text import redact
from adbazureml.workspaces import DatabricksWorkspace


class _Commands(click.Group):
    """Says what this package or a service's client raises as one sentence, and ends with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except AdbAzureMLError as error:
            raise click.ClickException(str(error)) from error
        except Exception as error:
            redact(error)
            if said := explain_error(error):
                raise click.ClickException(said) from error
            raise

    def list_commands(self, _: click.Context) -> list[str]:
        # In the order of the walk, not of the alphabet.
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(metadata.version("adbazureml"), prog_name="adbazureml")
def main() -> None:
    """Machine learning in Azure Databricks and Azure Machine Learning at once.

    The Databricks workspace is the one that this machine is signed in to, as for the Databricks CLI: DATABRICKS_HOST
    and DATABRICKS_TOKEN, or the profile that DATABRICKS_CONFIG_PROFILE names, or the profile DEFAULT. With none of
    these, and with DATABRICKS_CONFIG_FILE=/dev/null, it is the local backend. The Azure ML workspace is named by
    options or by ADBAZUREML_… variables, and signed in to as azure-identity does. Nobody is asked for a password.
    """


@main.command("check")
def check_command() -> None:
    """Show what the walk needs, what this machine has, and whether it imports."""
    from adbazureml.workspaces.install import check, verify

    report = verify(check())
    for row in report.rows:
        state = "fine" if row.fine else "MISSING"
        click.echo(f"{row.package:<28} {row.required:<16} {row.found or 'none':<16} {state} {row.note}".rstrip())
    if report.missing:
        raise SystemExit(1)


@main.command("doctor")
@azureml_options
@click.option("--databricks-workspace", default=None, help=Settings.model_fields["databricks_workspace"].description)
@click.option("--catalog", default="", help="Catalog to check the rights in; default: none is checked.")
@click.option("--schema", default="", help="Schema in that catalog.")
@click.option("--volume", default="", help="Volume in that schema.")
def doctor_command(catalog: str, schema: str, volume: str, **names: str) -> None:
    """Check sign-ins, rights, services and the link in order, in half a minute; ends with 1 where one fails."""
    from adbazureml.cli.doctor import Doctor

    if (schema and not catalog) or (volume and not schema):
        raise click.UsageError("--schema needs --catalog, and --volume needs --schema.")
    states = set()
    for finding in Doctor(settings=settings_of(names), catalog=catalog, schema=schema, volume=volume).findings():
        click.echo(str(finding))
        states.add(finding.state)
    if "FAILED" in states:
        raise SystemExit(1)


@main.command("import-notebooks")
@click.argument("folder", default="")
@click.option("--overwrite", is_flag=True, help="Replace notebooks that are there.")
@click.option("--wheel", type=click.Path(exists=True, dir_okay=False), help="Put this wheel beside them.")
@click.option("--cluster-id", default="", help="Cluster to run them on; with --wheel, it is installed there.")
@click.option("--start", is_flag=True, help="Start the cluster if it is stopped, without asking.")
def import_notebooks_command(folder: str, overwrite: bool, wheel: str | None, cluster_id: str, start: bool) -> None:
    """Import the notebooks into FOLDER of the Databricks workspace (default: adbazureml in your home folder)."""
    from adbazureml.cli.notebook_import import attach_hint, import_notebooks, put_wheel
    from adbazureml.workspaces.databricks import reached_databricks
    from adbazureml.workspaces.install import install_wheel
    from adbazureml.workspaces.install.cluster_libraries import is_stopped

    client, _ = reached_databricks()
    imported = import_notebooks(client, folder=folder, overwrite=overwrite)
    for path in imported.paths:
        click.echo(f"  {path}")
    click.echo(f"Imported {len(imported.paths)} notebooks: {imported.link}")
    if wheel:
        where = put_wheel(client, wheel, folder=imported.folder)
        click.echo(f"Put the wheel at {where}")
        if cluster_id:
            start = start or (is_stopped(client, cluster_id) and click.confirm(f"Start cluster {cluster_id}?"))
            install_wheel(where, cluster_id=cluster_id, client=client, start=start)
    click.echo(attach_hint(client, cluster_id=cluster_id))


@main.command("create-workspace")
@azureml_options
@click.option("--location", default="", help="Region; default: the resource group's.")
@click.option("--storage-account", default="", help="Name or resource id; default: made by a name of its own.")
@click.option("--key-vault", default="", help="Likewise.")
@click.option("--application-insights", default="", help="Likewise.")
def create_workspace_command(
    location: str, storage_account: str, key_vault: str, application_insights: str, **names: str
) -> None:
    """Make the Azure ML workspace, with what it needs, where it is missing."""
    from adbazureml.workspaces import create_workspace

    settings = settings_of(names)
    check_named(settings)
    made = create_workspace(
        name=settings.workspace_name,
        subscription_id=settings.subscription_id,
        resource_group=settings.resource_group,
        cloud=settings.cloud,
        location=location,
        storage_account=storage_account,
        key_vault=key_vault,
        application_insights=application_insights,
    )
    click.echo(f"Azure ML workspace {made.name}: {made.url}")


@main.group("link")
def link_group() -> None:
    """Show, set or end the link between the two workspaces that Azure's portal offers."""


_databricks = click.option(
    "--databricks-workspace", default=None, help="Name or resource id; default: the one you are signed in to."
)


@link_group.command("show")
@azureml_options
@_databricks
def show_link_command(**names: str) -> None:
    """Say what the Databricks workspace is linked to."""
    from adbazureml.workspaces.link import show_link

    settings = settings_of(names)
    click.echo(str(show_link(azureml_of(settings), databricks=settings.databricks_workspace)))


@link_group.command("set")
@azureml_options
@_databricks
@click.option("--replace", is_flag=True, help="Replace a link to another Azure ML workspace.")
@click.option("--timeout", default=900.0, show_default=True, help="Seconds to wait for Azure.")
def link_command(replace: bool, timeout: float, **names: str) -> None:
    """Link the Databricks workspace to the Azure ML workspace."""
    from adbazureml.workspaces.link import link_workspaces

    settings = settings_of(names)
    done = link_workspaces(
        azureml_of(settings), databricks=settings.databricks_workspace, replace=replace, timeout=timeout
    )
    click.echo(str(done))


@link_group.command("unset")
@azureml_options
@_databricks
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--timeout", default=900.0, show_default=True, help="Seconds to wait for Azure.")
def unlink_command(yes: bool, timeout: float, **names: str) -> None:
    """End the link; what either workspace holds stays."""
    from adbazureml.workspaces.link import unlink_workspaces

    settings = settings_of(names)
    workspace = azureml_of(settings)
    if not yes:
        click.confirm("End the link, for everybody who uses it?", abort=True)
    click.echo(str(unlink_workspaces(workspace, databricks=settings.databricks_workspace, timeout=timeout)))


_experiment = click.option("--experiment", default=None, help="MLflow experiment; default: the walk's.")


@main.command("status")
@azureml_options
@_experiment
def status_command(**names: str) -> None:
    """Show which runs are equal in both workspaces, which are out of sync and why, and each model's champion."""
    from adbazureml.registry import alias_holders
    from adbazureml.tracking import status, track

    settings = settings_of(names)
    with talking_to(settings) as (workspace, experiment):
        track(workspace, mode=settings.tracking)
        click.echo(str(status(experiment)))
        if workspace is None or settings.registry != "both":
            return
        for name in settings.model_names:
            held = alias_holders(name, workspace=workspace)
            if held.databricks or held.azureml:
                click.echo(str(held))


@main.command("catch-up")
@azureml_options
@_experiment
@click.option("--verify", is_flag=True, help="Compare everything, the contents of files too.")
def catch_up_command(verify: bool, **names: str) -> None:
    """Make the runs of the experiment equal in both workspaces; ends with 1 where one still is out of sync."""
    from adbazureml.tracking import catch_up, track

    settings = settings_of(names)
    with talking_to(settings) as (workspace, experiment):
        track(workspace, mode=settings.tracking)
        done = catch_up(experiment=experiment, verify=verify)
    click.echo(str(done))
    if done.out_of_sync:
        raise SystemExit(1)


@main.command("deployment-job")
@click.argument("model")
@click.option("--job-id", required=True, type=int, help="Number of the job, as `databricks bundle summary` shows it.")
def deployment_job_command(model: str, job_id: int) -> None:
    """Have Databricks run a job for each new version of MODEL, a name in Unity Catalog such as main.houses.prices."""
    from adbazureml.registry import connect_deployment_job

    with DatabricksWorkspace.signed_in():
        click.echo(str(connect_deployment_job(model, job_id=job_id)))


@main.command("clean-up")
@azureml_options
@_databricks
@_experiment
@click.option("--delete", is_flag=True, help="Really delete; without it, this only lists.")
@click.option("--delete-kinds", default=None, help=Settings.model_fields["delete_kinds"].description)
@click.option("--confirm", default="", help="To delete: the experiment's name, typed once more.")
@click.option("--confirm-resource-group", default="", help="To delete the resource group: its name, typed once more.")
def clean_up_command(delete: bool, confirm: str, confirm_resource_group: str, **names: str) -> None:
    """List what the walk made in both workspaces; delete it only with --delete and its name typed."""
    from adbazureml.cleanup import clean_up, inventory

    settings = settings_of(names)
    with talking_to(settings) as (workspace, experiment):
        found = inventory(settings.model_copy(update={"experiment": experiment}), workspace=workspace)
        click.echo(str(found))
        chosen = found.only(*settings.kinds_to_delete)
        if not chosen.items:
            return
        if not delete:
            kinds = ", ".join(dict.fromkeys(item.kind for item in chosen.items))
            click.echo(f"Dry run. To delete ({kinds}), add --delete --confirm '{found.experiment}'")
            return
        clean_up(
            chosen,
            confirm=confirm or click.prompt(f"Type the experiment's name to delete {len(chosen.items)} of these"),
            confirm_resource_group=confirm_resource_group,
        )
    click.echo("Deleted.")
