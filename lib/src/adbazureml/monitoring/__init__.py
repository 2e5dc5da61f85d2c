"""Watch a model: how far new data has moved from what it learned from, and how good it is once labels come.

It imports `scoring`, for the tables of predictions, and what is below. Start reading at `drift`, then
`drift_thresholds` and `column_profile`; for labels at `model_quality`.
"""

from adbazureml.monitoring.azureml_monitor import AzureMLMonitor, create_azureml_monitor
from adbazureml.monitoring.baseline import Baseline, baseline_of, profile
from adbazureml.monitoring.databricks_monitor import DatabricksMonitor, create_databricks_monitor
from adbazureml.monitoring.drift import monitor
from adbazureml.monitoring.drift_report import ColumnDrift, DriftReport
from adbazureml.monitoring.drift_thresholds import Thresholds
from adbazureml.monitoring.model_quality import QualityBaseline, quality, quality_baseline
from adbazureml.monitoring.quality_report import QualityReport

__all__ = [
    "AzureMLMonitor",
    "Baseline",
    "ColumnDrift",
    "DatabricksMonitor",
    "DriftReport",
    "QualityBaseline",
    "QualityReport",
    "Thresholds",
    "baseline_of",
    "create_azureml_monitor",
    "create_databricks_monitor",
    "monitor",
    "profile",
    "quality",
    "quality_baseline",
]
