"""Copies of versions: in another catalog of Unity Catalog, in another Azure ML workspace; each with the way back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4

from adbazureml.errors import RegistryError
from adbazureml.registry import model_names, version_tags
from adbazureml.registry.existing_version import delete_duplicates, finished_versions
from adbazureml.registry.lineage import tag_each_other
from adbazureml.registry.new_version import asking_registry, create_model
from adbazureml.registry.promotion import places_of, refusals_told
from adbazureml.registry.registered_version import RegisteredVersion
from adbazureml.workspaces import AzureMLWorkspace, DatabricksWorkspace

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from adbazureml.workspaces import Workspace

# A catalog or a whole name in Unity Catalog, an Azure ML workspace, or one of each.
Destination: TypeAlias = "str | AzureMLWorkspace | tuple[str, AzureMLWorkspace]"
# These registries keep files of their own; a local backend's leaves them where they are.
_KEEP_FILES = ("databricks", "azureml")


def copy_version(
    version: RegisteredVersion, *, to: Destination, workspace: AzureMLWorkspace | None = None
) -> RegisteredVersion:
    """Copy a version, its files, tags and description, to where it serves next; again, find the copy made before.

    Each copy's tags lead to the version that it was made of. Files pass through this machine: MLflow's own
    ``copy_model_version`` fails between workspaces before MLflow 3.12.

    Parameters
    ----------
    version : RegisteredVersion
        What `register` returned.
    to : str, AzureMLWorkspace, or a tuple of both
        A catalog, such as "prod", in which schema and model have the same names; or a whole name. The catalog is one
        that this Databricks workspace sees. An Azure ML workspace gets a copy of the version in `workspace`.
    workspace : AzureMLWorkspace, optional
        Needed to copy from Azure ML, and unless `to` is a name alone.

    Raises
    ------
    RegistryError
        The version is not in a registry that is to be copied from, it would be copied onto itself, or a registry
        refused. The message says what is done already.
    """
    destinations = to if isinstance(to, tuple) else (to,)
    name = next((_name_in(version.name, one) for one in destinations if isinstance(one, str)), version.name)
    target = next((one for one in destinations if isinstance(one, AzureMLWorkspace)), None)
    sources = {type(place): (place, named, number) for place, named, number in _sources(version, to, workspace)}
    wanted: list[tuple[type[Workspace], Workspace, str]] = []
    if name != version.name or target is None:
        wanted.append((DatabricksWorkspace, DatabricksWorkspace.current(), name))
    if target is not None:
        wanted.append((AzureMLWorkspace, target, model_names.azureml_model_name(name)))
    made: dict[type[Workspace], tuple[Workspace, ModelVersion, bool]] = {}
    done = ""
    for kind, place, named in wanted:
        if kind not in sources:
            raise RegistryError(
                f"to: version {version.version} of {version.name!r} is not in the registry of {kind.__name__}, so it"
                " can't be copied from there: register it there first, or leave that destination out."
            )
        source = sources[kind]
        if (source[0].registry_uri, source[1]) == (place.registry_uri, named):
            raise RegistryError(f"to: {named!r} in {place.name} is where the version is: name another place.")
        with refusals_told(place, f"a copy of version {source[2]} of {source[1]!r}", done):
            found = _find(place, named, version_tags.origin_of(*source))
            made[kind] = (place, found or _make(place, named, source), found is None)
        done += f" Version {made[kind][1].version} of {named!r} is in {place.name} already; call again to complete."
    if len(made) > 1:
        (ours, one, _), (theirs, other, _) = made.values()
        with refusals_told(theirs, "the tags of the copies", done):
            tag_each_other(ours, one, theirs, other)
    return _result(version, name, made)


def _sources(
    version: RegisteredVersion, to: Destination, workspace: AzureMLWorkspace | None
) -> list[tuple[Workspace, str, str]]:
    if isinstance(to, str):
        # Only the version in Databricks is copied.
        return [(DatabricksWorkspace.current(), version.name, version.databricks)] if version.databricks else []
    return places_of(version, workspace)


def _name_in(name: str, to: str) -> str:
    """The name that a model has in another catalog.

    >>> _name_in("dev.houses.prices", "prod"), _name_in("dev.houses.prices", "prod.flats.prices")
    ('prod.houses.prices', 'prod.flats.prices')
    """
    if to.count(".") == 2:
        return model_names.databricks_model_name(to)
    if name.count(".") != 2 or "." in to or not to:
        raise RegistryError(
            f"to: {to!r} of {name!r}: give a catalog, for a model named <catalog>.<schema>.<model>, or the whole name."
        )
    return model_names.databricks_model_name(f"{to}.{name.partition('.')[2]}")


def _find(place: Workspace, name: str, origin: str) -> ModelVersion | None:
    """The copy that was made before; the oldest, should there be several."""
    client = place.client()
    # Unity Catalog shows versions without their tags.
    whole = (client.get_model_version(one.name, one.version) for one in finished_versions(client, name))
    same = [one for one in whole if one.tags.get(version_tags.COPIED_FROM) == origin]
    return min(same, key=lambda one: int(one.version), default=None)


def _make(place: Workspace, name: str, source: tuple[Workspace, str, str]) -> ModelVersion:
    origin, named, number = source
    found = origin.client().get_model_version(named, number)
    tags = {key: value for key, value in found.tags.items() if not version_tags.is_of_its_place(key)}
    tags[version_tags.COPIED_FROM] = version_tags.origin_of(*source)
    tags[version_tags.COPIED_FROM_URL] = origin.model_url(named, number)
    tags[version_tags.REQUEST] = uuid4().hex
    in_azureml = isinstance(place, AzureMLWorkspace)
    create_model(place, name)
    client = place.client()
    with _files(place, source) as files:
        # In another Azure ML workspace the run is not there; the tags lead to it.
        run_id = None if in_azureml else found.run_id or None
        made = client.create_model_version(name, files, run_id, tags, description=found.description)
    delete_duplicates(client, made)
    return made


@contextmanager
def _files(place: Workspace, source: tuple[Workspace, str, str]) -> Iterator[str]:
    """Where the registry reads the files: a folder that goes again, or where they are."""
    import mlflow

    origin, named, number = source
    if not place.registry_uri.startswith(_KEEP_FILES):
        yield origin.client().get_model_version_download_uri(named, number)
        return
    with tempfile.TemporaryDirectory() as folder:
        with asking_registry(origin.registry_uri):
            downloaded = mlflow.artifacts.download_artifacts(f"models:/{named}/{number}", dst_path=folder)
        yield downloaded


def _result(
    version: RegisteredVersion, name: str, made: dict[type[Workspace], tuple[Workspace, ModelVersion, bool]]
) -> RegisteredVersion:
    numbers = {kind: str(copy.version) for kind, (_, copy, _) in made.items()}
    first = next(iter(made.values()))[1]
    return RegisteredVersion(
        name=name,
        azureml_name=model_names.azureml_model_name(name),
        databricks=numbers.get(DatabricksWorkspace),
        azureml=numbers.get(AzureMLWorkspace),
        uri=f"models:/{first.name}/{first.version}",
        run_id=version.run_id,
        created=any(new for _, _, new in made.values()),
        links=tuple(place.model_url(copy.name, str(copy.version)) for place, copy, _ in made.values()),
    )
