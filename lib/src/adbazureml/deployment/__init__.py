"""Deploy a model behind a URL: a scoring server that is healthy before it is handed over and never left behind."""

from adbazureml.deployment.comparison import Comparison
from adbazureml.deployment.endpoint import Endpoint
from adbazureml.deployment.front import deploy, endpoints, input_example

__all__ = ["Comparison", "Endpoint", "deploy", "endpoints", "input_example"]
