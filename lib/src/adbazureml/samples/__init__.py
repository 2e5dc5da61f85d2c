"""The walk's models: what they learn from a table of anybody's, two linear models, and how good they are.

It may import `runtime` and `errors`; only notebook 03 uses it. Start reading at `table`, whose rules are in `columns`.
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
