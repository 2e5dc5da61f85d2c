"""A model of two versions, for tables that grow and change."""

import mlflow
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema


class Times(mlflow.pyfunc.PythonModel):
    """Multiplies `x`, but takes no 13."""

    def __init__(self, factor):
        self.factor = factor

    def predict(self, context, model_input):
        if (model_input["x"] == 13).any():
            raise ValueError("13 is not for me")
        return model_input["x"] * self.factor


def register_times():
    """Register version 1, which doubles, and version 2, which trebles; return the first one's URI."""
    signature = ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double")]))
    for factor in (2, 3):
        with mlflow.start_run():
            mlflow.pyfunc.log_model(
                python_model=Times(factor),
                name="model",
                signature=signature,
                registered_model_name="times",
                pip_requirements=["mlflow"],
            )
    return "models:/times/1"
