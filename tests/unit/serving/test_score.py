"""What the scoring script reads from a request and writes into an answer, without a server around it."""

import datetime
import importlib.util
import json
import logging
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from adbazureml import serving

SERVER = "azureml_inference_server_http"
SCHEMA = Schema(
    [
        ColSpec(DataType.long, "count"),
        ColSpec(DataType.integer, "small", required=False),
        ColSpec(DataType.boolean, "flag", required=False),
        ColSpec(DataType.datetime, "at", required=False),
        ColSpec(DataType.string, "code", required=False),
        ColSpec(DataType.double, "weight", required=False),
    ]
)
NOON = pd.Timestamp("2026-03-01 12:00")


@pytest.fixture(scope="module")
def score():
    """The script, which is no module of the wheel: it imports the server that runs it, which is not installed here."""
    environment = dict(os.environ)
    api, request, response = ModuleType(SERVER), ModuleType("aml_request"), ModuleType("aml_response")
    request.rawhttp = lambda function: function
    response.AMLResponse = SimpleNamespace
    names = (SERVER, f"{SERVER}.api", f"{SERVER}.api.aml_request", f"{SERVER}.api.aml_response")
    sys.modules.update(zip(names, (api, api, request, response), strict=True))
    spec = importlib.util.spec_from_file_location("score", Path(serving.__file__).parent / "score.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in names:
        del sys.modules[name]
    os.environ.clear()
    os.environ.update(environment)


def bodies(row):
    """A row in each format of JSON."""
    return [
        {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}},
        {"dataframe_records": [row]},
        {"input_data": [row]},
        {"inputs": {name: [value] for name, value in row.items()}},
        {"inputs": [row]},
        {"instances": [row]},
    ]


def values_of(rows, name):
    """The values of a column in whatever the formats become."""
    if isinstance(rows, list):
        return [row[name] for row in rows]
    return np.asarray(rows[name]).tolist()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"count": 1.5}, "Column 'count' has 1.5, which is no whole number in its range (int64)"),
        ({"count": 2**63}, "Column 'count' has 9223372036854775808, which is no whole number in its range (int64)"),
        ({"count": -(2**64)}, "Column 'count'"),
        ({"count": 1e300}, "Column 'count' has 1e+300"),
        ({"count": 1, "small": 2**31}, "Column 'small' has 2147483648, which is no whole number in its range (int32)"),
        ({"count": 1, "flag": "false"}, "Column 'flag' has 'false', which is no truth value (bool)"),
        ({"count": 1, "flag": 2}, "Column 'flag' has 2"),
        ({"count": 1, "at": "noon"}, "Column 'at' has 'noon', which is no time"),
    ],
)
def test_a_value_that_its_column_does_not_hold_is_refused_by_the_columns_name(score, row, said):
    for body in bodies(row):
        with pytest.raises(score.RejectedRequestError) as refused:
            score._rows_of_json(json.dumps(body), SCHEMA)
        assert refused.value.status == 400
        assert said in str(refused.value), body
    header, line = ",".join(row), ",".join(map(str, row.values()))
    if "flag" not in row:
        with pytest.raises(score.RejectedRequestError, match=f"olumn '?{next(reversed(row))}"):
            score._rows_of_csv(f"{header}\n{line}\n", SCHEMA)


@pytest.mark.parametrize("value", [7, 7.0, -(2**63), 2**63 - 1, True])
def test_whole_numbers_are_taken_as_they_are(score, value):
    for body in bodies({"count": value}):
        rows, _ = score._rows_of_json(json.dumps(body), SCHEMA)
        assert values_of(rows, "count") in ([value], [int(value)])


@pytest.mark.parametrize(
    "said", ["2026-03-01T12:00:00Z", "2026-03-01T14:00:00+02:00", "2026-03-01 12:00", "2026-03-01T07:00:00.000-05:00"]
)
def test_times_with_an_offset_are_taken_in_utc(score, said):
    moments = []
    for body in bodies({"count": 1, "at": said}):
        rows, _ = score._rows_of_json(json.dumps(body), SCHEMA)
        moments += values_of(rows, "at")
    moments += values_of(score._rows_of_csv(f"count,at\n1,{said}\n", SCHEMA), "at")
    assert {pd.Timestamp(each) for each in moments} == {NOON}


def test_csv_is_read_with_the_types_of_the_signature(score):
    rows = score._rows_of_csv("count,code,at,flag,weight,small\n3,007,2026-03-01,True,1,4\n", SCHEMA)
    assert rows.to_dict("records") == [
        {
            "count": 3,
            "code": "007",
            "at": datetime.datetime(2026, 3, 1),
            "flag": True,
            "weight": 1.0,
            "small": 4,
        }
    ]
    assert [str(kind) for kind in rows.dtypes] == ["int64", "object", "datetime64[ns]", "bool", "float64", "int32"]


def test_missing_values_of_csv_and_json_stay_missing(score):
    text = score._rows_of_csv("count,at,weight\n1,,\n2,2026-03-01T12:00:00Z,3\n", SCHEMA)
    assert text["at"].tolist() == [pd.NaT, NOON]
    assert text["weight"].isna().tolist() == [True, False]
    body = {"dataframe_records": [{"count": 1, "at": None}, {"count": 2, "at": "2026-03-01T12:00:00Z"}]}
    assert score._rows_of_json(json.dumps(body), SCHEMA)[0]["at"].tolist() == [pd.NaT, NOON]


def test_text_where_a_number_belongs_names_its_column(score):
    with pytest.raises(score.RejectedRequestError, match=r"no CSV with a header that fits.*column weight"):
        score._rows_of_csv("count,weight\n1,old\n", SCHEMA)


def test_tensors_of_whole_numbers_are_checked_too(score):
    schema = Schema([TensorSpec(np.dtype("int64"), (-1, 2))])
    assert score._rows_of_json('{"inputs": [[1, 2]]}', schema)[0].tolist() == [[1, 2]]
    with pytest.raises(score.RejectedRequestError, match=r"The input has 1.5, which is no whole number"):
        score._rows_of_json('{"inputs": [[1.5, 2]]}', schema)


def test_answers_are_json_whatever_the_numbers(score):
    answer = {"predictions": [{"a": float("nan"), "b": np.float32("inf"), "c": [-np.inf, 1.5]}, np.array([np.nan, 2])]}
    assert json.loads(score._json(answer), parse_constant=pytest.fail) == {
        "predictions": [{"a": None, "b": None, "c": [None, 1.5]}, [None, 2.0]]
    }


class Failing:
    """A model that raises what it is given."""

    def __init__(self, error, flavors=("python_function",)):
        self.error = error
        self.metadata = SimpleNamespace(flavors=dict.fromkeys(flavors))

    def predict(self, rows):
        raise self.error


def served(score, model):
    made = score.Served.__new__(score.Served)
    made.model, made.schema, made.collect = model, SCHEMA, None
    return made


@pytest.mark.parametrize(
    "error",
    [
        KeyError("secret"),
        TypeError("secret"),
        AttributeError("secret"),
        ZeroDivisionError("secret"),
        ConnectionRefusedError("secret"),
        RuntimeError("secret"),
        MlflowException("secret"),
    ],
)
def test_what_the_models_own_code_fails_with_is_in_the_log_only(score, caplog, error):
    with caplog.at_level(logging.ERROR), pytest.raises(score.RejectedRequestError) as refused:
        served(score, Failing(error)).predict(None, None)
    assert refused.value.status == 500
    assert str(refused.value) == f"The model failed ({type(error).__name__}): the endpoint's log says why."
    assert "secret" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("error", [ValueError("age can't be -3"), MlflowException.invalid_parameter_value("age")])
def test_rows_that_a_model_refuses_are_the_callers_matter(score, error):
    with pytest.raises(score.RejectedRequestError, match="age") as refused:
        served(score, Failing(error)).predict(None, None)
    assert refused.value.status == 400


def test_only_a_spark_model_ends_its_process_when_its_jvm_is_gone(score, monkeypatch):
    ended = []
    monkeypatch.setattr(score.os, "_exit", ended.append)
    for flavors in (("python_function",), ("python_function", "spark")):
        with pytest.raises(score.RejectedRequestError):
            served(score, Failing(ConnectionRefusedError(), flavors)).predict(None, None)
    assert ended == [1]


class Doubling:
    """A model that predicts twice the count."""

    def predict(self, rows):
        return (rows["count"] * 2).to_numpy()


def lines_in(folder):
    return [
        json.loads(line) for file in folder.glob("*.json") for line in file.read_text(encoding="utf-8").splitlines()
    ]


def test_rows_are_kept_with_their_predictions_as_lines_of_json(score, tmp_path):
    made = served(score, Doubling())
    made.collect = score.RowLog(tmp_path / "new").collect
    rows = pd.DataFrame({"count": [1, 2], "code": ["007", None], "at": [NOON, pd.NaT]}, index=[7, 8])
    assert json.loads(made.answer(rows, None)) == {"predictions": [2, 4]}
    made.answer(rows.head(1), None)
    first, second, third = lines_in(tmp_path / "new")
    assert (first["count"], first["code"], first["at"], first["prediction"]) == (1, "007", "2026-03-01T12:00:00.000", 2)
    assert (second["count"], second["code"], second["prediction"]) == (2, None, 4)
    assert third["prediction"] == 2


def test_named_outputs_and_the_time_are_kept(score, tmp_path):
    log = score.RowLog(tmp_path)
    log.collect(pd.DataFrame({"count": [1]}), pd.DataFrame([{"low": 0.5, "high": 1.5}]))
    (line,) = lines_in(tmp_path)
    assert (line["prediction_low"], line["prediction_high"]) == (0.5, 1.5)
    assert pd.Timestamp(line["scored_at"]).tzinfo is not None


def test_what_cannot_be_kept_is_answered_all_the_same(score, tmp_path, caplog):
    made = served(score, Doubling())
    made.collect = score.RowLog(tmp_path).collect
    made.collect.__self__._file = tmp_path / "nowhere" / "rows.json"
    with caplog.at_level(logging.ERROR):
        assert json.loads(made.answer(pd.DataFrame({"count": [1]}), None)) == {"predictions": [2]}
    assert "were not collected" in caplog.text
