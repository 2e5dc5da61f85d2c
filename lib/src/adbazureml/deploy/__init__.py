"""Deploy a model behind a URL: a scoring server that is healthy before it is handed over and never left behind."""

from adbazureml.deploy.comparison import Comparison
from adbazureml.deploy.endpoint import Endpoint
from adbazureml.deploy.front import deploy, endpoints, input_example

__all__ = ["Comparison", "Endpoint", "deploy", "endpoints", "input_example"]
