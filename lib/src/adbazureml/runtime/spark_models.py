"""Where `mlflow.spark` puts a model on its way from Spark to this process, and back."""

from __future__ import annotations

import os
from pathlib import Path

from adbazureml.errors import EnvironmentNotReadyError
from adbazureml.runtime.place import Place, on_databricks, place
from adbazureml.runtime.spark_session import spark
from adbazureml.text import name_parts

VARIABLE = "MLFLOW_DFS_TMP"
VOLUME = "tmp"
_VOLUMES = Path("/Volumes")


def use_volume_for_spark_models(*, beside: str) -> str:
    """Let `mlflow.spark` save and load models by the volume ``tmp`` beside a table, where it has no other way.

    On serverless compute and on clusters of standard access mode, which both speak Spark Connect, a model can pass only
    through a volume, and MLflow asks for ``MLFLOW_DFS_TMP``. A job on serverless can set no environment variable, so
    this sets it. The bundle makes the volume. Elsewhere, and where the variable names a volume already, this changes
    nothing.

    Parameters
    ----------
    beside : str
        A table with catalog and schema, like ``main.prices.training``.

    Returns
    -------
    str
        The folder that MLflow will use; empty where it needs none.

    Raises
    ------
    EnvironmentNotReadyError
        The volume is needed and not there, or the table's name has no catalog and schema.
    """
    chosen = os.environ.get(VARIABLE, "")
    if chosen.startswith(f"{_VOLUMES}/"):
        return chosen
    if not _only_through_a_volume():
        return ""
    try:
        catalog, schema, _ = name_parts(beside)
    except ValueError:
        raise EnvironmentNotReadyError(
            f"Spark ML models pass through a volume here, and {beside!r} does not say in which schema: name the table "
            f"with catalog and schema, or set {VARIABLE} to a folder in a volume."
        ) from None
    folder = _VOLUMES / catalog / schema / VOLUME
    if not folder.is_dir():
        raise EnvironmentNotReadyError(
            f"Spark ML models pass through the volume {folder} here, and it is not there, or this identity may not read"
            f" it. Make it with `databricks volumes create {catalog} {schema} {VOLUME} MANAGED`, or set {VARIABLE} to a"
            " folder in another volume."
        )
    os.environ[VARIABLE] = str(folder)
    return str(folder)


def _only_through_a_volume() -> bool:
    if not on_databricks():
        return False
    return place() is Place.SERVERLESS or type(spark()).__module__.startswith("pyspark.sql.connect")
