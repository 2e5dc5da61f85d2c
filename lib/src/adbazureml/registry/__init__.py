"""Register models in Databricks, in Azure ML, or in both, each version with the way to its counterpart.

It imports `tracking`, as a version in Azure ML needs its run there, and what is below. Start reading at `registration`;
`model_uri` has what the rooms above take for a model.
"""

from adbazureml.registry.alias_holders import AliasHolders, alias_holders
from adbazureml.registry.deployment_job import DeploymentJob, connect_deployment_job
from adbazureml.registry.model_names import azureml_model_name
from adbazureml.registry.promotion import CHAMPION, Promotion, promote, rollback
from adbazureml.registry.registered_version import RegisteredVersion, find_version
from adbazureml.registry.registration import register
from adbazureml.registry.registration_plan import RegistrationPlan, plan_registration
from adbazureml.registry.shared_registry import AzureMLRegistry

__all__ = [
    "CHAMPION",
    "AliasHolders",
    "AzureMLRegistry",
    "DeploymentJob",
    "Promotion",
    "RegisteredVersion",
    "RegistrationPlan",
    "alias_holders",
    "azureml_model_name",
    "connect_deployment_job",
    "find_version",
    "plan_registration",
    "promote",
    "register",
    "rollback",
]
