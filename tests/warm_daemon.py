"""Spark's daemon of Python workers that has imported what models need before it forks them."""

import sklearn.linear_model  # noqa: F401
from pyspark.daemon import manager

if __name__ == "__main__":
    manager()
