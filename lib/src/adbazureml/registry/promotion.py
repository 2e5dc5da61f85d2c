"""Name the version that is in use, in both registries: its alias, moved at a stroke and moved back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from adbazureml.errors import RegistryError
from adbazureml.registry import version_tags
from adbazureml.registry.model_names import azureml_model_name
from adbazureml.registry.shared_registry import AzureMLRegistry, share_version
from adbazureml.text import html_table

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from adbazureml.registry.registered_version import RegisteredVersion
    from adbazureml.registry.version_copy import Destination
    from adbazureml.workspaces import AzureMLWorkspace, Workspace

CHAMPION = "champion"
# The value of the tag that an approval task of a deployment job looks for; a person sets it, in any case.
APPROVED = "Approved"
# https://learn.microsoft.com/azure/databricks/machine-learning/manage-model-lifecycle/upgrade-workflows
_NEEDED = (
    " Changing a model takes, in Unity Catalog, to own it or MANAGE on it; in Azure ML, the role AzureML Data Scientist"
    " on the workspace."
)


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """Which version an alias means, and which it meant.

    Attributes
    ----------
    name : str
        Registered name in Databricks.
    alias : str
    databricks, azureml : str or None
        The version that has it in each registry; None in one that was not asked.
    before : str or None
        The version that had it until now, in the registry of Databricks or else of Azure ML; None for the first, or
        where nothing changed.
    links : tuple of str
        A page for each registry.
    """

    name: str
    alias: str
    databricks: str | None
    azureml: str | None
    before: str | None
    links: tuple[str, ...] = ()

    def __str__(self) -> str:
        places = {"Databricks": self.databricks, "Azure ML": self.azureml}
        held = " and ".join(f"version {version} in {place}" for place, version in places.items() if version)
        return f"{self.alias} of {self.name}: {held}{f', before it {self.before}' if self.before else ''}"

    def _repr_html_(self) -> str:
        return html_table([("promoted", str(self)), ("pages", "\n".join(self.links))])


def promote(
    version: RegisteredVersion,
    *,
    alias: str = CHAMPION,
    workspace: AzureMLWorkspace | None = None,
    replaces: str | None = None,
    approval: str | None = None,
    to: Destination | AzureMLRegistry | None = None,
) -> Promotion:
    """Give a version an alias, in each registry that holds it; the one that had it before is remembered.

    Databricks comes first. At each moment one version has the alias, there is none in which no version has. If Azure ML
    then fails, calling again completes it. MLflow takes the alias in place of a number, as ``models:/<name>@<alias>``,
    in either registry.

    Parameters
    ----------
    version : RegisteredVersion
        What `register` returned.
    alias : str
    workspace : AzureMLWorkspace, optional
        Needed where Azure ML holds the version.
    replaces : str, optional
        The version in Databricks, or where only Azure ML holds it there, that must have the alias until now; empty for
        none. Where another one has, because somebody moved it meanwhile, nothing is changed.
    approval : str, optional
        Tag of the version, in Databricks, or where only Azure ML holds it there, that a person must have set to
        ``Approved``; a deployment job of Databricks calls it as its approval task.
    to : str, AzureMLWorkspace, a tuple of both, or AzureMLRegistry, optional
        Another catalog such as "prod", or whole name, in Unity Catalog, another Azure ML workspace, or both: the
        version is copied there first, with the way back in its tags, and its copy promoted. Again, the copy made before
        is found. `approval` is asked of the version itself, `replaces` is of the alias there. An Azure ML registry gets
        a copy of the version in `workspace`, with a tag for the alias, as it has none.

    Raises
    ------
    RegistryError
        Nobody approved it, another version than `replaces` has the alias, somebody moves it at the same moment, or a
        registry refused. The message says what is done already.
    """
    if approval is not None:
        _check_approval(*places_of(version, workspace)[0], approval)
    if isinstance(to, AzureMLRegistry):
        shared = share_version(version, to=to, alias=alias, workspace=workspace, replaces=replaces)
        return Promotion(
            name=version.name,
            alias=alias,
            databricks=None,
            azureml=version.azureml,
            before=shared.before,
            links=(shared.link,),
        )
    if to is not None:
        from adbazureml.registry.version_copy import copy_version

        version = copy_version(version, to=to, workspace=workspace)
        workspace = next((one for one in (to if isinstance(to, tuple) else (to,)) if not isinstance(one, str)), None)
    places = places_of(version, workspace)
    done, before = "", None
    for place, name, wanted in places:
        first = place is places[0][0]
        with refusals_told(place, f"the alias {alias!r}", done):
            held = _move(place.client(), name, alias, wanted, replaces if first else None)
        before = held if first else before
        done = f" Version {wanted} of {name!r} has it in {place.name} already; call promote again to complete."
    return Promotion(
        name=version.name,
        alias=alias,
        databricks=version.databricks,
        azureml=version.azureml,
        before=None if before == places[0][2] else before,
        links=tuple(place.model_url(name, wanted) for place, name, wanted in places),
    )


@contextmanager
def refusals_told(place: Workspace, what: str, done: str = "") -> Iterator[None]:
    """Within the ``with`` block, what a registry refuses is told in a sentence: of which change, and what is done."""
    from databricks.sdk.errors import DatabricksError
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, DatabricksError) as error:
        said = str(getattr(error, "message", "") or error).rstrip(".")
        denied = getattr(error, "error_code", "") == "PERMISSION_DENIED"
        raise RegistryError(f"{place.name} refused {what}: {said}.{done}{_NEEDED if denied else ''}") from error


def alias_holder(client: MlflowClient, name: str, alias: str) -> str | None:
    """Return the version that has an alias; None where none has, or there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            return None
        raise


def places_of(version: RegisteredVersion, workspace: AzureMLWorkspace | None) -> list[tuple[Workspace, str, str]]:
    """Each workspace whose registry holds the version, with name and number there; Databricks first.

    Raises
    ------
    RegistryError
        Azure ML holds it, and no workspace was given.
    """
    from adbazureml.workspaces import DatabricksWorkspace

    places: list[tuple[Workspace, str, str]] = []
    if version.databricks:
        places.append((DatabricksWorkspace.current(), version.name, version.databricks))
    if version.azureml and workspace is None:
        raise RegistryError(
            f"Azure ML holds version {version.azureml} of {version.azureml_name!r} too: "
            "give workspace=AzureMLWorkspace.get(…)."
        )
    if version.azureml and workspace is not None:
        places.append((workspace, version.azureml_name, version.azureml))
    return places


def _check_approval(place: Workspace, name: str, number: str, tag: str) -> None:
    with refusals_told(place, f"to show the tags of version {number} of {name!r}"):
        said = place.client().get_model_version(name, number).tags.get(tag, "")
    if said.lower() != APPROVED.lower():
        now = f"is {said!r} now" if said else "is not there yet"
        raise RegistryError(
            f"Version {number} of {name!r} waits for approval: somebody who may change its tags sets the tag {tag!r},"
            f" which {now}, to {APPROVED!r} in {place.name}, at {place.model_url(name, number)}; then promote again."
        )


def _move(client: MlflowClient, name: str, alias: str, version: str, replaces: str | None) -> str | None:
    """Give a version the alias, and return the one that had it.

    No registry compares and sets at once. So the alias is read just before, and again just after: whoever was faster or
    slower by a moment shows, and of two who promote at once at most one is told that it was done.
    """
    before = alias_holder(client, name, alias)
    if replaces is not None and before not in (replaces or None, version):
        raise _moved(name, alias, before, replaces)
    if before == version:
        return before
    if before is not None:
        # First: once the alias has moved, the way back is known.
        client.set_model_version_tag(name, version, version_tags.before_tag(alias), before)
    client.set_registered_model_alias(name, alias, version)
    if (now := alias_holder(client, name, alias)) != version:
        raise _moved(name, alias, now, version)
    return before


def _moved(name: str, alias: str, holder: str | None, expected: str) -> RegistryError:
    return RegistryError(
        f"{alias} of {name!r} is version {holder or 'none'}, not {expected or 'none'}: somebody moved it meanwhile."
        " Compare with that one, and promote again."
    )


def rollback(
    name: str,
    *,
    alias: str = CHAMPION,
    registry: Literal["both", "databricks", "azureml"] = "both",
    workspace: AzureMLWorkspace | None = None,
) -> Promotion:
    """Give an alias back to the version that had it before; again, to the one before that.

    Azure ML comes first and follows what Databricks remembers, so that after a failure the same call completes it.

    Parameters
    ----------
    name : str
        Registered name in Databricks.
    alias : str
    registry : {"both", "databricks", "azureml"}
    workspace : AzureMLWorkspace, optional
        Needed unless ``registry`` is "databricks".

    Raises
    ------
    RegistryError
        No version has the alias, the one that has was the first, the one before is not in both registries, or a
        registry refused.
    """
    from adbazureml.workspaces import DatabricksWorkspace

    if registry != "databricks" and workspace is None:
        raise RegistryError(f"registry {registry!r} needs an Azure ML workspace: give workspace=.")
    ours = None if registry == "azureml" else DatabricksWorkspace.current()
    theirs = None if registry == "databricks" else workspace
    asked = (ours, name) if ours else (theirs, azureml_model_name(name))
    assert asked[0] is not None
    with refusals_told(asked[0], f"the alias {alias!r}"):
        now, earlier = _before(asked[0], asked[1], alias)
    versions = [(asked[0], asked[1], str(earlier.version))]
    if ours and theirs:
        there, _, number = earlier.tags.get(version_tags.COUNTERPART_VERSION, "").rpartition("/")
        if not there:
            raise RegistryError(
                f"Version {earlier.version} of {name!r} is not in Azure ML: register it there, or give"
                " registry='databricks'."
            )
        versions.insert(0, (theirs, there, number))
    for place, named, number in versions:
        with refusals_told(place, f"the alias {alias!r}", " Call rollback again to complete."):
            place.client().set_registered_model_alias(named, alias, number)
    held = {place.name: number for place, _, number in versions}
    return Promotion(
        name=name,
        alias=alias,
        databricks=held.get(ours.name) if ours else None,
        azureml=held.get(theirs.name) if theirs else None,
        before=now,
        links=tuple(place.model_url(named, number) for place, named, number in reversed(versions)),
    )


def _before(place: Workspace, name: str, alias: str) -> tuple[str, ModelVersion]:
    """The number of the version that has the alias, and the version that had it before."""
    from mlflow.exceptions import MlflowException

    client = place.client()
    now = alias_holder(client, name, alias)
    if now is None:
        raise RegistryError(f"No version of {name!r} has the alias {alias!r} in {place.name}: promote one first.")
    earlier = client.get_model_version(name, now).tags.get(version_tags.before_tag(alias))
    if earlier is None:
        raise RegistryError(f"Version {now} of {name!r} is the first that had the alias {alias!r} in {place.name}.")
    try:
        return now, client.get_model_version(name, earlier)
    except MlflowException as error:
        raise RegistryError(
            f"Version {earlier} of {name!r}, which had the alias {alias!r} before, is not there: promote another one."
        ) from error
