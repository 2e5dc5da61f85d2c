"""The walk's data and models: a public data set, and two linear models of any table, with their quality.

It imports `runtime` and what is below; of the rooms, only `cleanup` imports it, to tell a sample from a user's table.
Start reading at `training_table`, whose rules are in `column_types`.
"""

from adbazureml.samples.column_types import decide_task
from adbazureml.samples.model_quality import Quality, learning_curve
from adbazureml.samples.sgd import sgd_pipeline, sgd_quality, train_epochs
from adbazureml.samples.spark_ml import fit_spark, spark_quality
from adbazureml.samples.training_table import TrainingTable, training_data

__all__ = [
    "Quality",
    "TrainingTable",
    "decide_task",
    "fit_spark",
    "learning_curve",
    "sgd_pipeline",
    "sgd_quality",
    "spark_quality",
    "train_epochs",
    "training_data",
]
