"""A table that gets rows, and what was predicted for them."""

from adbazureml import runtime


def grow(spark, table, *values):
    rows = ", ".join(f"({value}D)" for value in values)
    spark.sql(f"SELECT * FROM VALUES {rows} AS t(x)").coalesce(1).write.saveAsTable(
        table, format="delta", mode="append"
    )


def held(into):
    """Each prediction with its row and its model's version."""
    rows = runtime.spark().table(into).select("x", "prediction", "model_version").collect()
    return sorted((row["model_version"], row["x"], row["prediction"]) for row in rows)
