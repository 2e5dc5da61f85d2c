"""Answer requests with an MLflow model, under Microsoft's inference server for Azure ML.

This file goes into the endpoint as it is: it runs in the model's environment, where `adbazureml` is not installed. It
takes what MLflow's own scoring server takes (``dataframe_split``, ``dataframe_records``, ``inputs``, ``instances``,
each with ``params``; CSV), and ``input_data`` as Azure ML's endpoints of MLflow models do. It answers
``{"predictions": …}``, where a number that is none, or infinite, is null, as JSON has no word for it. What a caller got
wrong is a 400 or 415 with one sentence; what the model's own code fails with is a 500, with the reason in the log only.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

# MLflow opens its tracking store when a model is loaded: by default a new database in the working directory, and where
# that can't be written it tries for 100 s.
os.environ.setdefault("MLFLOW_TRACKING_URI", Path(tempfile.gettempdir(), "mlruns").as_uri())
# Workers of a Spark model must be this interpreter, and its Java may come with it.
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
if "JAVA_HOME" not in os.environ and (Path(sys.prefix) / "lib" / "jvm").is_dir():
    os.environ["JAVA_HOME"] = str(Path(sys.prefix) / "lib" / "jvm")

import numpy as np
import pandas as pd
from azureml_inference_server_http.api.aml_request import rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse
from mlflow import pyfunc
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INVALID_PARAMETER_VALUE, ErrorCode
from mlflow.types import DataType
from mlflow.utils.proto_json_utils import (
    NumpyEncoder,
    _get_jsonable_obj,
    cast_df_types_according_to_schema,
    dataframe_from_parsed_json,
    parse_tf_serving_input,
)

# Names the folder of a `RowLog`.
COLLECT = "ADBAZUREML_COLLECT"
FORMATS = ("input_data", "dataframe_split", "dataframe_records", "inputs", "instances")
LONGEST_REASON = 400
KINDS = {"i": "whole number in its range", "u": "whole number in its range", "b": "truth value", "M": "time"}
# What models raise, by convention, for rows that they do not take. Anything else is the model's own failure.
CALLERS_MISTAKE = ValueError
CALLERS_CODES = {ErrorCode.Name(INVALID_PARAMETER_VALUE), ErrorCode.Name(BAD_REQUEST)}

logger = logging.getLogger("azmlinfsrv.adbazureml")


class RejectedRequestError(Exception):
    """A request that can't be answered, with the status and the sentence to say so."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Served:
    """The model, and where its inputs and outputs are collected to."""

    def __init__(self, folder: Path) -> None:
        self.model = pyfunc.load_model(str(folder))
        self.schema = self.model.metadata.get_input_schema()
        self.collect = _collect_function()

    def answer(self, rows: Any, params: dict[str, Any] | None) -> str:
        """Predict, collect, and return the body of the answer."""
        predictions = _get_jsonable_obj(self.predict(rows, params), pandas_orient="records")
        if self.collect:
            self._collect(rows, predictions)
        return _json({"predictions": predictions})

    def predict(self, rows: Any, params: dict[str, Any] | None) -> Any:
        """Predict; what the caller got wrong and what the model did are told apart by the error."""
        try:
            return self.model.predict(rows, params=params) if params else self.model.predict(rows)
        except MlflowException as error:
            if error.error_code in CALLERS_CODES:
                raise RejectedRequestError(400, _explain_error(error.message)) from error
            raise self._failed(error) from error
        except CALLERS_MISTAKE as error:
            raise RejectedRequestError(400, _explain_error(error)) from error
        except TimeoutError as error:
            seconds = float(os.environ.get("SCORING_TIMEOUT_MS", "3600000")) / 1000
            sentence = (
                f"The model did not answer within {seconds:g} s: send fewer rows at once, or raise request_timeout."
            )
            raise RejectedRequestError(504, sentence) from error
        except Exception as error:
            if type(error).__module__.startswith("pyspark.errors"):
                raise RejectedRequestError(400, _explain_error(error)) from error
            if self._has_lost_spark(error):
                logger.exception("Spark is gone")
                # The server would go on saying that it is healthy: a new worker starts a new one.
                os._exit(1)
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> RejectedRequestError:
        """What the caller is told: the error's text may hold data of others."""
        logger.error("The model failed", exc_info=error)
        return RejectedRequestError(500, f"The model failed ({type(error).__name__}): the endpoint's log says why.")

    def _has_lost_spark(self, error: Exception) -> bool:
        return "spark" in self.model.metadata.flavors and (
            type(error).__name__ == "Py4JNetworkError" or isinstance(error, ConnectionError)
        )

    def _collect(self, rows: Any, predictions: Any) -> None:
        assert self.collect is not None
        try:
            frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows)
            self.collect(frame, pd.DataFrame(predictions))
        except Exception:
            logger.exception("Inputs and outputs were not collected")


served: Served | None = None


def init() -> None:
    """Load the model, and let it answer its own input example: only then the server says that it is healthy."""
    try:
        _load()
    except Exception:
        logger.exception("The model could not be loaded")
        # The server would list the model's files after the reason. 3 tells it not to try again.
        sys.stderr.flush()
        os._exit(3)


def _load() -> None:
    global served  # noqa: PLW0603
    root = Path(os.environ["AZUREML_MODEL_DIR"])
    found = sorted(root.rglob("MLmodel"), key=lambda path: len(path.parts))
    if not found:
        raise FileNotFoundError(f"no MLflow model below {root}")
    folder = found[0].parent
    model = Served(folder)
    example = model.model.metadata.get_serving_input(str(folder))
    if example:
        try:
            model.predict(*_rows_of_json(example, model.schema))
        except RejectedRequestError as error:
            raise RuntimeError(f"the model does not take its own input example: {error}") from error
    _describe(model.model.metadata.signature, json.loads(example) if example else None)
    served = model


@rawhttp  # type: ignore[untyped-decorator]
def run(request: Any) -> AMLResponse:
    """Answer a request."""
    assert served is not None
    if request.method == "OPTIONS":
        return AMLResponse("", 200)
    if request.method != "POST":
        return AMLResponse({"message": "POST rows to this address."}, 405, json_str=True)
    try:
        body = served.answer(*_rows(request, served.schema))
    except RejectedRequestError as error:
        return AMLResponse({"message": str(error)}, error.status, json_str=True)
    return AMLResponse(body, 200, {"Content-Type": "application/json"})


def _rows(request: Any, schema: Any) -> tuple[Any, dict[str, Any] | None]:
    """The rows of a request as the model takes them, and its params."""
    kind = request.mimetype
    if request.mimetype_params.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise RejectedRequestError(415, "charset: only utf-8 is understood.")
    if kind not in ("application/json", "text/csv"):
        said = repr(kind) if kind else "missing"
        raise RejectedRequestError(415, f"Content-Type is {said}: send 'application/json' or 'text/csv'.")
    try:
        text = request.get_data().decode("utf-8")
    except UnicodeDecodeError as error:
        raise RejectedRequestError(400, f"The body is not UTF-8: {error}.") from error
    if not text.strip():
        raise RejectedRequestError(400, "The body is empty.")
    return (_rows_of_csv(text, schema), None) if kind == "text/csv" else _rows_of_json(text, schema)


def _rows_of_csv(text: str, schema: Any) -> pd.DataFrame:
    specs = _specs(schema)
    try:
        header = next(csv.reader(StringIO(text)))
        # A text that looks like a number stays a text; what else a column is, is seen from it first and checked then.
        texts: dict[Any, Any] = {name: str for name in header if name in specs and specs[name].kind in "OUS"}
        rows = pd.read_csv(StringIO(text), dtype=texts)
        typed = _typed(rows, schema)
    except Exception as error:
        raise RejectedRequestError(
            400, f"The body is no CSV with a header that fits the model: {_explain_error(error)}"
        ) from error
    # pandas makes an index of what rows have more than the header.
    if not isinstance(rows.index, pd.RangeIndex):
        raise RejectedRequestError(400, f"The header has {len(header)} columns, and the rows have more.")
    return typed


def _rows_of_json(text: str, schema: Any) -> tuple[Any, dict[str, Any] | None]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RejectedRequestError(400, f"The body is no JSON: {_explain_error(error)}") from error
    expected = f"give a JSON object with one of {', '.join(FORMATS)}"
    if not isinstance(content, dict):
        raise RejectedRequestError(400, f"The body is a JSON {type(content).__name__}: {expected}.")
    named = [name for name in FORMATS if name in content]
    if len(named) != 1:
        raise RejectedRequestError(400, f"The body has {', '.join(named) or 'none of the formats'}: {expected}.")
    unknown = [str(name) for name in content if name not in (*named, "params", "signature_name")]
    if unknown:
        raise RejectedRequestError(
            400, f"The body has {', '.join(unknown)[:LONGEST_REASON]}, which nothing here reads."
        )
    params = content.get("params")
    if params is not None and not isinstance(params, dict):
        raise RejectedRequestError(400, "params: give a JSON object.")
    name, value = named[0], content[named[0]]
    try:
        if name == "input_data":
            name, value = _in_a_format_of_mlflow(value, schema)
        if name in ("inputs", "instances"):
            return parse_tf_serving_input({name: _checked_inputs(value, _specs(schema))}, schema=schema), params
        return _typed(dataframe_from_parsed_json(value, pandas_orient=name.removeprefix("dataframe_")), schema), params
    except Exception as error:
        raise RejectedRequestError(400, f"{named[0]}: {_explain_error(error)}") from error


def _in_a_format_of_mlflow(value: Any, schema: Any) -> tuple[str, Any]:
    """What ``input_data`` holds, as one of the other formats."""
    if isinstance(value, dict):
        split = "data" in value and set(value) <= {"columns", "index", "data"}
        return ("dataframe_split", value) if split else ("inputs", value)
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return "dataframe_records", value
    if isinstance(value, list) and schema is not None and schema.has_input_names() and not schema.is_tensor_spec():
        rows = [row if isinstance(row, list) else [row] for row in value]
        names = schema.input_names()
        if any(len(row) != len(names) for row in rows):
            raise ValueError(f"each row needs {len(names)} values: {', '.join(map(str, names))}")
        return "dataframe_split", {"columns": names, "data": rows}
    return "inputs", value


def _specs(schema: Any) -> dict[str | None, np.dtype[Any]]:
    """The numpy type of each column or tensor that has one, by name; that of a single one without name by None."""
    if schema is None:
        return {}
    names = schema.input_names() if schema.has_input_names() else [None] * len(schema.inputs)
    kinds = zip(names, schema.input_types(), strict=True)
    found = {name: kind.to_numpy() if isinstance(kind, DataType) else kind for name, kind in kinds}
    return {name: kind for name, kind in found.items() if isinstance(kind, np.dtype)}


def _typed(rows: pd.DataFrame, schema: Any) -> pd.DataFrame:
    """Rows with the types of the signature, none of whose values changes by that."""
    if schema is None:
        return rows
    for name, kind in _specs(schema).items():
        if name in rows and rows[name].dtype != kind and kind.kind in "iubM":
            rows[name] = pd.Series(
                [_checked(value, kind, name) for value in rows[name].tolist()], index=rows.index, dtype=object
            ).infer_objects()
    cast: pd.DataFrame = cast_df_types_according_to_schema(rows, schema)
    return cast


def _checked_inputs(value: Any, specs: dict[str | None, np.dtype[Any]]) -> Any:
    """What ``inputs`` or ``instances`` hold, checked: columns, rows, or the values of a single one."""
    if isinstance(value, dict):
        return {name: _checked(each, specs.get(name), name) for name, each in value.items()}
    if isinstance(value, list) and any(isinstance(row, dict) for row in value):
        return [_checked_inputs(row, specs) if isinstance(row, dict) else row for row in value]
    name, kind = next(iter(specs.items())) if len(specs) == 1 else (None, None)
    return _checked(value, kind, name)


def _checked(value: Any, kind: np.dtype[Any] | None, name: str | None) -> Any:
    """A value, or a list of them, that its type holds as it is; a time with an offset becomes that time in UTC.

    numpy would cut 1.5 to 1, take 2**63 for a negative number and every text for true.
    """
    if kind is None or kind.kind not in "iubM" or value is None or value != value:  # noqa: PLR0124
        return value
    if isinstance(value, list):
        return [_checked(each, kind, name) for each in value]
    said, fits = value, True
    if kind.kind == "M" and isinstance(value, str):
        moment: Any = pd.to_datetime(value, errors="coerce", utc=True)
        fits = moment is not pd.NaT
        value = moment.tz_localize(None)
    elif kind.kind == "b":
        fits = value in (0, 1)
    elif kind.kind in "iu" and isinstance(value, (int, float)):
        limits = np.iinfo(kind)
        fits = limits.min <= value <= limits.max and value == int(value)
    if not fits:
        column = "The input" if name is None else f"Column {name!r}"
        raise ValueError(f"{column} has {said!r}, which is no {KINDS[kind.kind]} ({kind.name}).")
    return value


def _json(content: Any) -> str:
    """JSON as the standard has it: with null for NaN and infinite numbers."""
    try:
        return json.dumps(content, cls=NumpyEncoder, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(content, cls=NumpyEncoder), parse_constant=lambda _: None))


def _explain_error(error: object) -> str:
    """One sentence of what an error says, without the rows that it repeats."""
    said = re.sub(r"Failed to enforce schema of data .* with schema '.*?\]'\. Error: ", "", str(error), flags=re.DOTALL)
    said = re.sub(r"\s+", " ", said.partition(" IMPORTANT: ")[0].partition("\n\nJVM stacktrace")[0]).strip()
    said = f"{said[:LONGEST_REASON]}…" if len(said) > LONGEST_REASON else said
    return said or type(error).__name__


class RowLog:
    """Keeps each row with its prediction and its time as a line of JSON: a folder that is read as a table.

    A single output is the column ``prediction``, a named one ``prediction_<its name>``; ``scored_at`` is in UTC.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Other workers, and servers of other versions, write to the same folder.
        self._file = folder / f"{uuid.uuid4().hex}.json"
        self._lock = threading.Lock()

    def collect(self, rows: pd.DataFrame, predictions: pd.DataFrame) -> None:
        """Write rows whose predictions are in the same order."""
        single = predictions.shape[1] == 1 and 0 in predictions
        outputs = predictions.set_axis(
            ["prediction"] if single else [f"prediction_{name}" for name in predictions], axis=1
        )
        table = rows.reset_index(drop=True).assign(**outputs, scored_at=pd.Timestamp.now("UTC"))
        lines = table.to_json(orient="records", lines=True, date_format="iso", double_precision=15)
        with self._lock, self._file.open("a", encoding="utf-8") as file:
            file.write(lines)


def _collect_function() -> Callable[[pd.DataFrame, pd.DataFrame], None] | None:
    """What takes inputs and outputs when the deployment collects them; None otherwise."""
    if folder := os.environ.get(COLLECT):
        return RowLog(Path(folder)).collect
    if "AZUREML_MDC_CONFIG_PATH" not in os.environ and os.environ.get("AZUREML_MDC_ENABLED", "").lower() != "true":
        return None
    from azureml.ai.monitoring import Collector

    def failed(error: Exception) -> None:
        logger.warning("Not collected: %s", error)

    inputs, outputs = (Collector(name=name, on_error=failed) for name in ("model_inputs", "model_outputs"))

    def collect(rows: pd.DataFrame, predictions: pd.DataFrame) -> None:
        outputs.collect(predictions, inputs.collect(rows))

    return collect


def _describe(signature: Any, example: dict[str, Any] | None) -> None:
    """Let the server's swagger show what the model takes and gives."""
    if signature is None or signature.inputs is None:
        return
    from inference_schema.parameter_types.abstract_parameter_type import AbstractParameterType
    from inference_schema.schema_decorators import input_schema, output_schema

    class Described(AbstractParameterType):
        def __init__(self, swagger: dict[str, Any]) -> None:
            super().__init__(swagger["example"])
            self.swagger = swagger

        def supported_versions(self) -> list[str]:
            return ["2.0", "3.0", "3.1"]

        def deserialize_input(self, input_data: Any) -> Any:
            return input_data

        def input_to_swagger(self) -> dict[str, Any]:
            return self.swagger

    def described(input_data: Any) -> Any:
        return input_data

    # The server refuses both decorators on one function; its swagger finds the schema by the name of `run`.
    described.__module__, described.__name__ = run.__module__, run.__name__
    inputs = _swagger_of(signature.inputs)
    inputs["example"] = next(iter(example.values())) if example else {"columns": [], "data": []}
    outputs: dict[str, Any] = {"type": "object", "properties": {"predictions": {"type": "array", "items": {}}}}
    if signature.outputs is not None:
        outputs["properties"]["predictions"] = _swagger_of(signature.outputs, split=False)
    outputs["example"] = {"predictions": []}
    input_schema("input_data", Described(inputs))(described)
    output_schema(Described(outputs))(described)


SWAGGER_TYPES = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "format": "int32"},
    "long": {"type": "integer", "format": "int64"},
    "float": {"type": "number", "format": "float"},
    "double": {"type": "number", "format": "double"},
    "string": {"type": "string"},
    "binary": {"type": "string", "format": "byte"},
    "datetime": {"type": "string", "format": "date-time"},
}


def _swagger_of(schema: Any, *, split: bool = True) -> dict[str, Any]:
    """Swagger of a table (``columns`` and ``data``, or one object a row) or of a tensor."""
    if schema.is_tensor_spec() or not schema.has_input_names():
        types = [SWAGGER_TYPES.get(getattr(kind, "name", ""), {}) for kind in schema.input_types()]
        return {"type": "array", "items": types[0] if len(types) == 1 else {}}
    fields = {
        str(name): dict(SWAGGER_TYPES.get(getattr(kind, "name", ""), {}))
        for name, kind in zip(schema.input_names(), schema.input_types(), strict=True)
    }
    required = [str(name) for name in schema.required_input_names()]
    row = {"type": "object", "properties": fields, **({"required": required} if required else {})}
    if not split:
        return {"type": "array", "items": row}
    return {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {
            "columns": {"type": "array", "items": {"type": "string", "enum": list(fields)}},
            "index": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array", "items": {"type": "array", "items": {}}},
        },
        "description": f"A table as pandas splits it; a row is {json.dumps(row)}",
    }
