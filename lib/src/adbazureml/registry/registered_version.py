"""Registered model versions: as `register` returns them, and found again by number or as the newest."""

from __future__ import annotations

from dataclasses import dataclass

from adbazureml.errors import RegistryError
from adbazureml.registry.model_names import azureml_model_name
from adbazureml.registry.promotion import CHAMPION, alias_holder
from adbazureml.text import html_table


@dataclass(frozen=True, kw_only=True)
class RegisteredVersion:
    """A model version as one or both registries hold it.

    Attributes
    ----------
    name : str
        Registered name in Databricks.
    azureml_name : str
        Registered name in Azure ML.
    databricks, azureml : str or None
        Version in each registry.
    uri : str
        ``models:/`` URI of the version in the registry that MLflow asks now.
    run_id : str
        The run that made the model; empty when none did.
    created : bool
        Whether this call made a version, rather than finding those of an earlier one.
    links : tuple of str
        A page for each registry that holds it.
    """

    name: str
    azureml_name: str
    databricks: str | None
    azureml: str | None
    uri: str
    run_id: str
    created: bool
    links: tuple[str, ...]

    @property
    def version(self) -> str:
        """Version in the registry that `uri` means."""
        return self.uri.rpartition("/")[2]

    def _repr_html_(self) -> str:
        rows = {
            "model": f"{self.name} ({'new' if self.created else 'made before'})",
            "in Databricks": f"version {self.databricks}" if self.databricks else "not registered",
            "in Azure ML": f"{self.azureml_name} version {self.azureml}" if self.azureml else "not registered",
            "run": self.run_id,
            "pages": "\n".join(self.links),
        }
        return html_table(rows.items())


def find_version(version: str, *, name: str, alias: str | None = CHAMPION) -> str:
    """Return the ``models:/`` URI of a version, by its number.

    Parameters
    ----------
    version : str
        The number; empty: the version that has the alias, or where none has, the newest.
    name : str
        Registered name in Databricks.
    alias : str, optional
        None: the newest, whichever version is in use.

    Raises
    ------
    RegistryError
        There is none.
    """
    import mlflow

    from adbazureml.registry.existing_version import finished_versions

    client = mlflow.MlflowClient()
    if mlflow.get_registry_uri().startswith("azureml:"):
        name = azureml_model_name(name)
    if version:
        try:
            client.get_model_version(name, version)
        except mlflow.MlflowException as error:
            raise RegistryError(f"version {version!r}: model {name!r} has no such version.") from error
        return f"models:/{name}/{version}"
    if alias and (champion := alias_holder(client, name, alias)):
        return f"models:/{name}/{champion}"
    newest = max((int(candidate.version) for candidate in finished_versions(client, name)), default=None)
    if newest is None:
        raise RegistryError(f"name {name!r}: no version is registered; register one first.")
    return f"models:/{name}/{newest}"
