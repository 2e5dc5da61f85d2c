"""Names of experiments in Azure ML, which knows no workspace paths, and the tag that keeps the path."""

from __future__ import annotations

import hashlib
import re

# On an experiment whose name in Databricks is a path: that path.
DATABRICKS_EXPERIMENT = "adbazureml.databricks.experiment"


def azureml_experiment_name(databricks_name: str) -> str:
    """Give the Azure ML experiment that is the counterpart of a Databricks experiment.

    Databricks names experiments by workspace paths, Azure ML by plain names of letters, digits, '-' and '_'. The last
    two parts of the path stay readable; eight hex digits of the whole path's SHA-256 keep different paths apart. A
    name that is plain already stays as it is. The path itself is kept in the experiment's tag
    ``adbazureml.databricks.experiment``.

    >>> azureml_experiment_name("/Users/ada@example.com/house prices/trees")
    'house-prices-trees-ab5b5ad5'
    >>> azureml_experiment_name("iris-classifier")
    'iris-classifier'
    """
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}", databricks_name):
        return databricks_name
    readable = "-".join(databricks_name.strip("/").split("/")[-2:])
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", readable).strip("-_")[-200:] or "experiment"
    digest = hashlib.sha256(databricks_name.encode()).hexdigest()[:8]
    return f"{readable}-{digest}"
