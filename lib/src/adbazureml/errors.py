"""The one hierarchy of errors. Every message names the setting or thing, the value seen, and what to do next."""

from __future__ import annotations

import sys

from adbazureml.text import redact, redacted


class AdbAzureMLError(Exception):
    """Base of every error that this package raises on purpose.

    Most quote what a service said, so the message is redacted. So is the error that is being handled where this one is
    made: it becomes the cause or the context, and a notebook's traceback shows the whole chain.
    """

    def __init__(self, *args: object) -> None:
        redact(sys.exc_info()[1])
        super().__init__(*(redacted(one) if isinstance(one, str) else one for one in args))


class SettingsError(AdbAzureMLError):
    """One or more parameters are unknown, missing or wrong; the message lists all of them."""


class EnvironmentNotReadyError(AdbAzureMLError):
    """The machine or cluster lacks something: Java, a package, a folder that can be written."""


class WorkspaceError(AdbAzureMLError):
    """An Azure ML or Databricks workspace could not be reached or is not what the settings say."""


class CredentialError(WorkspaceError):
    """There is no identity to sign in to Azure with, or the one there is was refused."""


class TableError(AdbAzureMLError):
    """A table, a column or a condition on it is not what the step needs."""


class TrackingError(AdbAzureMLError):
    """A run could not be found, or could not be made equal in both workspaces."""


class RegistryError(AdbAzureMLError):
    """A model could not be registered."""


class ValidationFailedError(RegistryError):
    """A model version is not to take the place of the one in use, and the caller asked to fail then."""


class DeploymentError(AdbAzureMLError):
    """An endpoint could not be made, or does not answer as its model does."""


class ScoringError(AdbAzureMLError):
    """A model could not be found or loaded, or failed on the rows it was given."""


class DriftError(AdbAzureMLError):
    """Data has drifted from what a model learned from, or its quality has fallen, and the caller asked to fail then."""


class CleanUpError(AdbAzureMLError):
    """A deletion was asked for without its confirmation, or did not go through."""
