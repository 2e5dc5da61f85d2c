"""Watch what a model is fed: how far new data has moved from the data that it learned from.

It imports `scoring`, for the tables of predictions, and what is below. Start reading at `drift`, then
`drift_thresholds` and `column_profile`.
"""

from adbazureml.monitoring.azureml_monitor import AzureMLMonitor, create_azureml_monitor
from adbazureml.monitoring.baseline import Baseline, baseline_of, profile
from adbazureml.monitoring.databricks_monitor import DatabricksMonitor, create_databricks_monitor
from adbazureml.monitoring.drift import monitor
from adbazureml.monitoring.drift_report import ColumnDrift, DriftReport
from adbazureml.monitoring.drift_thresholds import Thresholds

__all__ = [
    "AzureMLMonitor",
    "Baseline",
    "ColumnDrift",
    "DatabricksMonitor",
    "DriftReport",
    "Thresholds",
    "baseline_of",
    "create_azureml_monitor",
    "create_databricks_monitor",
    "monitor",
    "profile",
]
