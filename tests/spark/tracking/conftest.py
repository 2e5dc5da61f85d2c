"""The two tracking stores of the service tier's tests, for those that need Spark too."""

from tests.service.tracking.conftest import both, processes, proxy, server

__all__ = ["both", "processes", "proxy", "server"]
