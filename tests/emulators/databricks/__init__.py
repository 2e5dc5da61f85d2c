"""A Databricks workspace on loopback, for the real databricks-sdk."""

from .compute import Cluster
from .emulator import ORG_ID, TOKEN, DatabricksEmulator
from .routes import Routes, refused

__all__ = ["ORG_ID", "TOKEN", "Cluster", "DatabricksEmulator", "Routes", "refused"]
