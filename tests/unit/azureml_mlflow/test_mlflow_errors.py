import ast
from pathlib import Path
from typing import get_args

import pytest
from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS, MlflowException

import adbazureml
from adbazureml.azureml_mlflow.mlflow_errors import Code, code_of, is_outage, is_rejection, mlflow_error

LIB = Path(adbazureml.__file__).parent


def test_only_one_function_gives_an_error_of_mlflow_its_code():
    """MLflow takes a number, and makes an internal error, an outage, of a name."""
    found = [
        f"{path.relative_to(LIB)}:{call.lineno}"
        for path in LIB.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func).rpartition(".")[2] == "MlflowException"
        and (len(call.args) > 1 or any(one.arg in ("error_code", None) for one in call.keywords))
    ]
    assert [place.partition(":")[0] for place in found] == ["azureml_mlflow/mlflow_errors.py"], found


@pytest.mark.parametrize("code", get_args(Code))
def test_each_code_reaches_mlflow(code):
    error = mlflow_error("said", code)
    assert error.error_code == code
    assert error.get_http_status_code() == ERROR_CODE_TO_HTTP_STATUS[code]


@pytest.mark.parametrize("status", [400, 405, 409, 413, 422, 501])
def test_a_refusal_is_no_outage(status):
    error = mlflow_error("said", code_of(status))
    assert is_rejection(error)
    assert not is_outage(error)


@pytest.mark.parametrize("status", [None, 401, 403, 408, 429, 500, 502, 503, 504])
def test_an_outage_is_no_refusal(status):
    error = mlflow_error("said", code_of(status))
    assert is_outage(error)
    assert not is_rejection(error)
    assert is_outage(MlflowException("MLflow's own, after its retries"))
