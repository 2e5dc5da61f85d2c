"""The stacks that this was run on, one row each: what a Databricks Runtime ships, and how far it was tried."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Stack:
    """A Databricks Runtime ML, as the project's tests stand for it on one machine.

    Attributes
    ----------
    name : str
        Of its lock file, ``requirements-<name>.txt``; that of the first row is ``requirements.txt``.
    version : str
        How the runtime begins to call itself in ``DATABRICKS_RUNTIME_VERSION``.
    runtime, python, mlflow, spark, delta, scikit_learn, azureml_mlflow, databricks_sdk : str
        The runtime's name, and versions in the lock file.
    supported_until : datetime.date or None
        When Databricks' support ends; None where it has not said so.
        https://learn.microsoft.com/azure/databricks/release-notes/runtime/
    ran : str
        What was last run on it, when, and what came out.
    """

    name: str
    version: str
    runtime: str
    python: str
    mlflow: str
    spark: str
    delta: str
    scikit_learn: str
    azureml_mlflow: str
    databricks_sdk: str
    supported_until: date | None
    ran: str


STACKS = (
    Stack(
        name="18-lts-ml",
        version="18",
        runtime="18 LTS ML",
        python="3.12",
        mlflow="3.8.1",
        spark="4.1.0",
        delta="4.1.0",
        scikit_learn="1.6.1",
        azureml_mlflow="1.62.0.post6",
        databricks_sdk="0.67.0",
        supported_until=date(2029, 6, 10),
        ran="November 28, 2026: `make run`, `make test`",
    ),
    Stack(
        name="17.3-lts-ml",
        version="17.3",
        runtime="17.3 LTS ML",
        python="3.12",
        mlflow="3.0.1",
        spark="4.0.0",
        delta="4.0.0",
        scikit_learn="1.6.1",
        azureml_mlflow="1.62.0.post6",
        databricks_sdk="0.156.0",
        supported_until=date(2028, 10, 22),
        ran="November 25, 2026: the walk and the Azure ML tests",
    ),
    Stack(
        name="19-ml",
        version="19",
        runtime="19 ML",
        python="3.12",
        mlflow="3.12.0",
        spark="4.2.0",
        delta="4.4.0",
        scikit_learn="1.9.1",
        azureml_mlflow="1.62.0.post6",
        databricks_sdk="0.162.0",
        supported_until=None,
        ran="November 28, 2026: the walk and the Azure ML tests",
    ),
)


def cluster_runtime() -> str:
    """The version of this process's Databricks Runtime; empty elsewhere and on serverless compute."""
    version = os.environ.get("DATABRICKS_RUNTIME_VERSION", "")
    return version if version[:1].isdigit() else ""


def unsupported_runtime(version: str, today: date) -> str:
    """What is to be said of a runtime that is not in the table, or that Databricks no longer supports.

    Parameters
    ----------
    version : str
        As `cluster_runtime` gives it, such as ``16.4``.
    today : datetime.date

    Returns
    -------
    str
        A sentence that names the nearest runtime; empty where there is nothing to say.
    """
    current = [stack for stack in STACKS if stack.supported_until is None or stack.supported_until >= today]
    same = [stack for stack in STACKS if re.match(rf"{re.escape(stack.version)}(\.|$)", version)]
    if any(stack in current for stack in same):
        return ""
    nearest = min(current, key=lambda stack: abs(float(stack.version) - _number(version)))
    if same:
        return f"supported by Databricks until {same[0].supported_until}; take {nearest.runtime}"
    return f"not tried; the nearest that was is {nearest.runtime}"


def _number(version: str) -> float:
    found = re.match(r"\d+(\.\d+)?", version)
    return float(found[0]) if found else 0.0
