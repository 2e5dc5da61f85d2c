"""Watch what a model is fed: how far new data has moved from the data that it learned from."""

from adbazureml.monitoring.drift import drift
from adbazureml.monitoring.report import ColumnDrift, DriftReport

__all__ = ["ColumnDrift", "DriftReport", "drift"]
