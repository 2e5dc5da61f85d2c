"""Endpoints on this machine, a server process each."""

from adbazureml.deployment.targets.local.options import Local

__all__ = ["Local"]
