"""Azure ML registries, which workspaces of several regions share: versions that are shared into one, each once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from adbazureml.azure.azureml_refusals import explain_error
from adbazureml.azure.refusals import is_missing, status_of
from adbazureml.errors import RegistryError
from adbazureml.registry import version_tags
from adbazureml.workspaces.ml_client import ml_client

if TYPE_CHECKING:
    from azure.ai.ml.entities import Model
    from azure.ai.ml.entities._assets.workspace_asset_reference import WorkspaceAssetReference

    from adbazureml.registry.registered_version import RegisteredVersion
    from adbazureml.workspaces import AzureMLWorkspace

# https://learn.microsoft.com/azure/machine-learning/how-to-manage-registries
_NEEDED_ROLE = "give it the role 'AzureML Registry User' on the registry"


@dataclass(frozen=True, kw_only=True)
class AzureMLRegistry:
    """An Azure ML registry, in the cloud of the workspace whose versions are shared into it.

    Attributes
    ----------
    name : str
    """

    name: str


@dataclass(frozen=True)
class SharedVersion:
    """A version in an Azure ML registry, which has the name and number that it has in its workspace.

    Attributes
    ----------
    before : str or None
        The version that had the alias until now.
    link : str
        Its page in Azure Machine Learning studio.
    """

    before: str | None
    link: str


def share_version(
    version: RegisteredVersion,
    *,
    to: AzureMLRegistry,
    alias: str,
    workspace: AzureMLWorkspace | None,
    replaces: str | None = None,
) -> SharedVersion:
    """Copy a version from its Azure ML workspace into a registry, and give it an alias; again, find that copy.

    Azure copies the files, without this machine. A registry has no aliases: the copy has a tag instead, which is set
    before the one that had it loses it.

    Raises
    ------
    RegistryError
        The version is not in Azure ML, the workspace is a local backend, there is no such registry or this identity may
        not write to it, another version than `replaces` has the alias, or one of this name and number is there that is
        no copy of this one.
    """
    name, number = version.azureml_name, version.azureml
    if number is None or workspace is None or not workspace.workspace_id:
        raise RegistryError(
            f"to: {to.name!r} takes versions of an Azure ML workspace: register {version.name!r} in one, and give"
            " workspace=AzureMLWorkspace.get(…)."
        )
    origin = version_tags.origin_of(workspace, name, number)
    tag = version_tags.alias_tag(alias)
    what = f"version {number} of {name!r} in registry {to.name!r}"
    with _refusals_told(to.name):
        # A copy takes seconds.
        registry = ml_client(workspace, registry=to.name, poll=1.0)
    with _refusals_told(to.name, what):
        # Versions are listed without a look at whether there is such a model.
        versions: dict[str, Model] = {str(one.version): one for one in registry.models.list(name)}
        held = [one for one, model in versions.items() if tag in (model.tags or {})]
        before = next((one for one in held if one != number), None)
        if replaces is not None and number not in held and before != (replaces or None):
            raise RegistryError(
                f"{alias} of {name!r} is version {before or 'none'} in registry {to.name!r}, not {replaces or 'none'}:"
                " compare with that one, and promote again."
            )
        if number in versions:
            _check_copy(versions[number], origin, workspace, what)
        else:
            registry.models.create_or_update(_reference(workspace, name, number))
        link = workspace.model_url(name, number)
        _set_tags(
            registry,
            registry.models.get(name, number),
            {version_tags.COPIED_FROM: origin, version_tags.COPIED_FROM_URL: link, tag: "true"},
        )
        for other in held:
            if other != number:
                _set_tags(registry, versions[other], {tag: None})
    page = f"/registries/{quote(to.name)}/models/{quote(name)}/version/{number}"
    return SharedVersion(before, urlsplit(workspace.url)._replace(path=page, query="").geturl())


def _reference(workspace: AzureMLWorkspace, name: str, number: str) -> WorkspaceAssetReference:
    """What ``models.share`` hands on; that call itself asks for tokens of the public cloud, in whichever it is."""
    from azure.ai.ml.entities._assets.workspace_asset_reference import WorkspaceAssetReference

    source = f"azureml://locations/{workspace.location}/workspaces/{workspace.workspace_id}"
    return WorkspaceAssetReference(name=name, version=number, asset_id=f"{source}/models/{name}/versions/{number}")


def _check_copy(there: Model, origin: str, workspace: AzureMLWorkspace, what: str) -> None:
    """Refuse a version that somebody else put there; one whose maker died before it was tagged has the model's tag."""
    tags = there.tags or {}
    if tags.get(version_tags.COPIED_FROM) == origin:
        return
    name, number = origin.split("/")[-2:]
    ours = workspace.client().get_model_version(name, number).tags.get(version_tags.MODEL)
    if version_tags.COPIED_FROM in tags or ours is None or tags.get(version_tags.MODEL) != ours:
        raise RegistryError(
            f"{what} is there already, and no copy of {origin}: archive that one, or register under another name."
        )


def _set_tags(registry: Any, model: Model, wanted: dict[str, str | None]) -> None:
    """Set tags, or where the value is None, take them away; nothing is asked where they are so already."""
    before = dict(model.tags or {})
    model.tags = {key: value for key, value in {**before, **wanted}.items() if value is not None}
    if model.tags != before:
        registry.models.create_or_update(model)


@contextmanager
def _refusals_told(registry: str, what: str = "") -> Iterator[None]:
    """Within the ``with`` block, what the registry refuses is told in a sentence, with the role that helps."""
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as error:
        if is_missing(error) and not what:
            said = f"to: there is no Azure ML registry {registry!r} that this identity sees: check its name and cloud."
        elif status_of(error) == 403:
            said = f"This identity may not write to Azure ML registry {registry!r} (403): {_NEEDED_ROLE}."
        else:
            said = explain_error(error, what or f"registry {registry!r}")
        # Without its cause, which holds the request, and that its token.
        raise RegistryError(said) from None
