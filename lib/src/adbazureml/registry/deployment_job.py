"""The job that Databricks runs for each new version of a model in Unity Catalog, whoever makes it."""

from __future__ import annotations

from dataclasses import dataclass

from adbazureml.errors import RegistryError
from adbazureml.registry.model_names import databricks_model_name
from adbazureml.registry.promotion import refusals_told
from adbazureml.workspaces import DatabricksWorkspace


@dataclass(frozen=True, kw_only=True)
class DeploymentJob:
    """A model and its deployment job.

    Attributes
    ----------
    name : str
        Registered name of the model.
    job_id : str
    before : str
        The job that it had; empty for none.
    created : bool
        Whether the model was made for it, with no version yet.
    """

    name: str
    job_id: str
    before: str
    created: bool

    def __str__(self) -> str:
        if self.before == self.job_id:
            return f"{self.name} is connected to job {self.job_id} already."
        made = ", a new model without versions," if self.created else ""
        instead = f", no more to job {self.before}" if self.before else ""
        return f"{self.name}{made} is connected to job {self.job_id}{instead}: Databricks runs it for each new version."


def connect_deployment_job(name: str, *, job_id: int | str) -> DeploymentJob:
    """Connect a model in Unity Catalog to its deployment job; a model that is missing is made, without versions.

    The job has the parameters ``model_name`` and ``model_version``, and runs with the rights of the model's owner.
    Connected already, nothing changes.

    Parameters
    ----------
    name : str
        Registered name, in three parts.
    job_id : int or str
        Of a job of this workspace.

    Raises
    ------
    RegistryError
        This is no workspace with Unity Catalog, the name has not three parts, or Databricks refused.

    References
    ----------
    https://learn.microsoft.com/azure/databricks/mlflow/deployment-job
    """
    from mlflow.exceptions import MlflowException

    place, job, name = DatabricksWorkspace.current(), str(job_id), databricks_model_name(name)
    if not place.registry_uri.startswith("databricks-uc"):
        raise RegistryError(
            f"{name!r}: deployment jobs are of models in Unity Catalog, and this is {place.name}: sign in to a"
            " Databricks workspace."
        )
    if name.count(".") != 2:
        raise RegistryError(f"{name!r} is no name in Unity Catalog: give <catalog>.<schema>.<model>.")
    client = place.client()
    with refusals_told(place, f"job {job} as deployment job of {name!r}"):
        try:
            before = client.get_registered_model(name).deployment_job_id or ""
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
                raise
            client.create_registered_model(name, deployment_job_id=job)
            return DeploymentJob(name=name, job_id=job, before="", created=True)
        if before == job:
            return DeploymentJob(name=name, job_id=job, before=before, created=False)
        if before:
            # Databricks replaces none that is there.
            client.update_registered_model(name, deployment_job_id="")
        client.update_registered_model(name, deployment_job_id=job)
    return DeploymentJob(name=name, job_id=job, before=before, created=False)
