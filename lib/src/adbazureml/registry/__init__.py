"""Register models in Databricks, in Azure ML, or in both, with lineage from one to the other."""

from adbazureml.registry.names import azureml_model_name
from adbazureml.registry.promotion import CHAMPION, Promotion, promote, rollback
from adbazureml.registry.register import register
from adbazureml.registry.versions import RegisteredVersion, find_version

__all__ = [
    "CHAMPION",
    "Promotion",
    "RegisteredVersion",
    "azureml_model_name",
    "find_version",
    "promote",
    "register",
    "rollback",
]
