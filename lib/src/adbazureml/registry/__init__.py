"""Register models in Databricks, in Azure ML, or in both, with lineage from one to the other."""

from adbazureml.registry.model_names import azureml_model_name
from adbazureml.registry.promotion import CHAMPION, Promotion, promote, rollback
from adbazureml.registry.registration import register
from adbazureml.registry.registered_version import RegisteredVersion, find_version

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
