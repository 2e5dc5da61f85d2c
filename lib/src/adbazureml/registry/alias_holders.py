"""Which version has an alias in each registry, and whether the two mean the same one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adbazureml.registry import version_tags
from adbazureml.registry.model_names import azureml_model_name
from adbazureml.registry.promotion import CHAMPION, alias_holder, refusals_told

if TYPE_CHECKING:
    from adbazureml.workspaces import AzureMLWorkspace


@dataclass(frozen=True, kw_only=True)
class AliasHolders:
    """The version that has an alias in each registry.

    Attributes
    ----------
    name : str
        Registered name in Databricks.
    alias : str
    databricks, azureml : str or None
        Numbers; None where no version has it.
    counterpart : str or None
        Number in Azure ML of the version that has it in Databricks; None where that one is not registered there.
    """

    name: str
    alias: str
    databricks: str | None
    azureml: str | None
    counterpart: str | None

    @property
    def agree(self) -> bool:
        """Whether both registries mean the same version."""
        return self.azureml == self.counterpart

    def __str__(self) -> str:
        held = (
            f"{self.alias} of {self.name}: {_version(self.databricks)} in Databricks, "
            f"{_version(self.azureml)} in Azure ML"
        )
        if self.agree:
            return f"{held}."
        if self.databricks is None:
            return f"{held}. They disagree: promote a version again, in both."
        there = f"is {_version(self.counterpart)} there" if self.counterpart else "is not registered there"
        return f"{held}. They disagree, as Databricks' {there}: promote it again."


def _version(number: str | None) -> str:
    return f"version {number}" if number else "none"


def alias_holders(name: str, *, workspace: AzureMLWorkspace, alias: str = CHAMPION) -> AliasHolders:
    """Ask both registries which version has an alias.

    Parameters
    ----------
    name : str
        Registered name in Databricks.
    workspace : AzureMLWorkspace
    alias : str

    Raises
    ------
    RegistryError
        A registry refused.
    """
    from adbazureml.workspaces import DatabricksWorkspace

    databricks, counterpart = DatabricksWorkspace.current(), ""
    with refusals_told(databricks, f"to show the alias {alias!r}"):
        ours = alias_holder(databricks.client(), name, alias)
        if ours is not None:
            tags = databricks.client().get_model_version(name, ours).tags
            counterpart = tags.get(version_tags.COUNTERPART_VERSION, "").rpartition("/")[2]
    with refusals_told(workspace, f"to show the alias {alias!r}"):
        theirs = alias_holder(workspace.client(), azureml_model_name(name), alias)
    return AliasHolders(name=name, alias=alias, databricks=ours, azureml=theirs, counterpart=counterpart or None)
