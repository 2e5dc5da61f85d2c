"""An Azure ML workspace on loopback, for the real azureml-mlflow, azure-identity and azure-storage-blob."""

from .emulator import AzureMLEmulator
from .limits import Limits
from .messages import Request

__all__ = ["AzureMLEmulator", "Limits", "Request"]
