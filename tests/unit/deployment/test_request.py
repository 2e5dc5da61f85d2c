"""Rows on their way to an endpoint: JSON as any server reads it, whatever is missing in them."""

import json

import numpy as np
import pandas as pd
from mlflow.types.schema import ColSpec, Schema
from mlflow.utils.proto_json_utils import dataframe_from_parsed_json

from adbazureml.deployment.scoring_client import request_of


def test_what_is_missing_is_null_and_arrives_as_missing():
    frame = pd.DataFrame(
        {
            "size": [1.5, np.nan],
            "none": [np.nan, np.nan],
            "city": ["Bern", None],
            "lift": [True, None],
            "built": pd.to_datetime(["2026-01-01", None]),
        }
    )
    text = json.dumps(request_of(frame), allow_nan=False)
    assert json.loads(text)["dataframe_split"]["data"][1] == [None] * 5
    schema = Schema([ColSpec("double", "size"), ColSpec("double", "none"), ColSpec("string", "city")])
    sent = json.loads(json.dumps(request_of(frame[["size", "none", "city"]])))["dataframe_split"]
    arrived = dataframe_from_parsed_json(sent, pandas_orient="split", schema=schema)
    assert arrived.isna().equals(frame[["size", "none", "city"]].isna())
    assert arrived["none"].dtype == np.float64


def test_numbers_arrive_as_they_are():
    values = {"double": [0.1 + 0.2], "whole": [2**53 - 1], "short": np.array([0.1], dtype=np.float32)}
    (row,) = request_of(pd.DataFrame(values))["dataframe_split"]["data"]
    assert row == [0.1 + 0.2, 2**53 - 1, float(np.float32(0.1))]
