"""Secrets that Databricks keeps, and the identities that Unity Catalog lends."""

from __future__ import annotations

from typing import Any

from adbazureml.errors import EnvironmentNotReadyError
from adbazureml.runtime.notebook import dbutils
from adbazureml.runtime.place import on_databricks


def secret(scope: str, name: str) -> str:
    """Return a secret of a Databricks secret scope.

    Raises
    ------
    EnvironmentNotReadyError
        Not on Databricks, or the secret is not there, is empty, or may not be read.
    """
    if not on_databricks():
        raise EnvironmentNotReadyError(
            f"secret_scope {scope!r}: secret scopes are Databricks'. On this machine leave secret_scope empty, and sign"
            " in with `az login` or by environment variables."
        )
    try:
        value = str(dbutils().secrets.get(scope=scope, key=name))
    except EnvironmentNotReadyError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EnvironmentNotReadyError(
            f"secret_scope {scope!r}: its secret {name!r} can't be read ({reason}). Make it with `databricks secrets"
            f" put-secret {scope} {name}`, and give the job's identity READ on the scope."
        ) from error
    if not value:
        raise EnvironmentNotReadyError(f"secret_scope {scope!r}: its secret {name!r} is empty; put its value there.")
    return value


def service_credential(name: str) -> Any:
    """Return a service credential of Unity Catalog, as azure-core's ``TokenCredential``.

    Raises
    ------
    EnvironmentNotReadyError
        Not on Databricks, the runtime has no service credentials, or this one is not there or may not be used.
    """
    if not on_databricks():
        raise EnvironmentNotReadyError(
            f"service_credential {name!r}: service credentials are Databricks'. On this machine leave"
            " service_credential empty, and sign in with `az login` or by environment variables."
        )
    try:
        provider = dbutils().credentials.getServiceCredentialsProvider
    except AttributeError as error:
        raise EnvironmentNotReadyError(
            f"service_credential {name!r}: this compute has no service credentials. Use Databricks Runtime 16.2 or"
            " newer, or serverless compute; or leave it empty and set secret_scope."
        ) from error
    try:
        return provider(name)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EnvironmentNotReadyError(
            f"service_credential {name!r} can't be used ({reason}). Make it as docs/set-up-for-a-team.md shows, and"
            " give the job's identity ACCESS on it."
        ) from error
