"""A model made ready to be deployed: what is known of it, and the folder that a target serves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from adbazureml.deployment import deployable_folder, model_environment
from adbazureml.deployment.answer_comparison import rendered
from adbazureml.errors import DeploymentError

if TYPE_CHECKING:
    from mlflow.models import Model
    from mlflow.models.signature import ModelSignature

SPARK_ML = "spark"


@dataclass(frozen=True, kw_only=True)
class Deployable:
    """A model that can be deployed.

    Attributes
    ----------
    uri : str
        MLflow URI that it is loaded by.
    model : mlflow.models.Model
        MLflow's description: flavors, signature, ids.
    databricks : (str, str) or None
        Name and version in the Databricks registry, where it is known to be there.
    azureml : (str, str) or None
        Name and version in the Azure ML registry, likewise.
    """

    uri: str
    model: Model
    databricks: tuple[str, str] | None = None
    azureml: tuple[str, str] | None = None

    @property
    def signature(self) -> ModelSignature | None:
        """Columns or tensors that the model takes and gives; None when it was logged without."""
        signature: ModelSignature | None = self.model.signature
        return signature

    @property
    def is_spark(self) -> bool:
        """Whether it is a Spark ML model, which needs Java where it runs."""
        return SPARK_ML in self.model.flavors

    @cached_property
    def requirements(self) -> model_environment.Requirements:
        """What its environment needs: the model's own requirements and the inference server's."""
        return model_environment.of_model(self.uri, self.model)

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits over what is served: the model, the requirements and the scoring script.

        The model counts by MLflow's id of it, so that nothing needs to be fetched to see that nothing changed.
        """
        parts = [self.model.model_uuid or self.model.to_yaml(), *self.requirements.wanted, self.requirements.python]
        return hashlib.sha256(json.dumps([*parts, deployable_folder.scoring_script()]).encode()).hexdigest()[:32]

    @cached_property
    def folder(self) -> deployable_folder.DeployableFolder:
        """The deployable folder, made when first asked for; it goes when nobody holds it any more.

        Raises
        ------
        DeploymentError
            The model can't be fetched, or its requirements do not resolve together with the server's.
        """
        return deployable_folder.make(self.uri, self.requirements, java=self.is_spark)

    def prepare(self) -> None:
        """Make the folder now, as its errors shall come before anything is created; see `folder`."""
        assert self.folder

    @cached_property
    def input_example(self) -> dict[str, Any] | None:
        """The request that was logged with the model to try it with, as the scoring protocol has it; None without."""
        content = self.model.get_serving_input(str(self.folder.model))
        return json.loads(content) if content else None

    @cached_property
    def own_answers(self) -> object:
        """What the model itself predicts for its input example, as an endpoint renders it.

        Raises
        ------
        DeploymentError
            It can't be loaded here, or fails.
        """
        from mlflow import pyfunc

        path = str(self.folder.model)
        try:
            example, params = self.model.load_input_example(path), self.model.load_input_example_params(path)
            return rendered(pyfunc.load_model(path).predict(example, params=params))
        except Exception as error:  # a model may raise anything
            said = str(error).partition("\n")[0].rstrip(".")
            raise DeploymentError(
                f"The model {self.uri} does not predict its own input example here: {said}."
            ) from error
