"""Spark's daemon of Python workers that has imported what models need before it forks them."""

import mlflow.pyfunc
import mlflow.sklearn
import mlflow.store.tracking.sqlalchemy_store
import mlflow.tracing.export.mlflow_v3  # noqa: F401
import sklearn.linear_model  # noqa: F401
from pyspark.daemon import manager

if __name__ == "__main__":
    manager()
