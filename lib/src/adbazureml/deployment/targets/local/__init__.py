"""Endpoints on this machine, a server process each."""

from adbazureml.deployment.targets.local.endpoints import connect

__all__ = ["connect"]
