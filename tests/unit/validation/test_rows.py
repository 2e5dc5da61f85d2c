"""Rows on which versions are compared."""

import pandas as pd
import pytest
from pyspark.sql import Row

from adbazureml.validation.rows import labels_and_slices


@pytest.mark.parametrize("made", [Row("0", "1", "2"), lambda *values: dict(zip("012", values, strict=True))])
def test_labels_and_slices_are_told_apart_however_spark_brings_them(made):
    labels, slices = labels_and_slices(pd.Series([made(1.5, "a", True), made(None, "b", None)]), ["kind", "old"])
    assert labels[0] == 1.5
    assert labels.isna().tolist() == [False, True]
    assert (slices["kind"].tolist(), slices["old"].tolist()) == (["a", "b"], [True, None])
