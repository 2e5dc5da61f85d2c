"""Names that lead from one workspace to the other: tags on both sides, and experiments."""

from __future__ import annotations

import hashlib
import re

# Azure ML refuses ':' in tag keys (mlflow issue 8008); dots are fine in both.
PREFIX = "adbazureml."

# On the run in Databricks: where its mirror is.
AZUREML_RUN_ID = "adbazureml.azureml.run_id"
AZUREML_TRACKING_URI = "adbazureml.azureml.tracking_uri"
AZUREML_RUN_URL = "adbazureml.azureml.run_url"
# On the mirrored run in Azure ML: where it comes from, and since when it is equal.
DATABRICKS_RUN_ID = "adbazureml.databricks.run_id"
DATABRICKS_RUN_URL = "adbazureml.databricks.run_url"
SETTLED_AT = "adbazureml.settled_at"
# On the mirrored experiment.
DATABRICKS_EXPERIMENT = "adbazureml.databricks.experiment"


def azureml_experiment_name(databricks_name: str) -> str:
    """Give the Azure ML experiment that mirrors a Databricks experiment.

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
