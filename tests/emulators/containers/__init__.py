"""An Azure container registry and Azure Container Instances on loopback, for Microsoft's management clients."""

from .emulator import ContainersEmulator

__all__ = ["ContainersEmulator"]
