"""Track runs in Databricks, in Azure ML, or in both, through MLflow's own API."""

from adbazureml.tracking.catchup import CatchUp, catch_up
from adbazureml.tracking.runs import find_run
from adbazureml.tracking.switch import track

__all__ = ["CatchUp", "catch_up", "find_run", "track"]
