"""Rows on their way to an endpoint and back: JSON as anybody reads it, whatever is missing in them."""

import json

import numpy as np
import pandas as pd
import pytest
from mlflow.types.schema import ColSpec, Schema
from mlflow.utils.proto_json_utils import dataframe_from_parsed_json

from adbazureml.deployment.answer_comparison import compare_answers, rendered
from adbazureml.deployment.scoring_client import request_of
from adbazureml.errors import DeploymentError


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


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_an_answer_of_null_is_what_the_model_says_where_json_has_no_word_for_it(number):
    for predictions in (np.array([number, 1.5]), np.array([number]), pd.DataFrame({"a": [number], "b": ["x"]})):
        answered = json.loads(json.dumps(rendered(predictions), allow_nan=False))
        compare_answers("models:/m/1", answered, rendered(predictions))
    with pytest.raises(DeploymentError, match="1 of 2 rows differ"):
        compare_answers("models:/m/1", [2.5, 1.5], rendered(np.array([number, 1.5])))
