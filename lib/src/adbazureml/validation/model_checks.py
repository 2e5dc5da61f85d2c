"""What can be said of a version without any data, or with one row: signature, example, words and tags, size, time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from adbazureml.text import first_line
from adbazureml.validation.answers import latency_of, taken
from adbazureml.validation.verdict import Check

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models.model import Model
    from mlflow.pyfunc import PyFuncModel

_MEGABYTE = 1_000_000


def signature_check(challenger: Model, champion: Model | None) -> Check:
    """Whether callers of the champion may go on calling as they do; without one, whether there is a signature."""
    now = challenger.get_input_schema()
    if now is None:
        return Check("signature", False, "it has none: log the model with signature= or input_example=")
    before = champion.get_input_schema() if champion else None
    if before is None:
        return Check("signature", True, "there is one")
    if not (now.has_input_names() and before.has_input_names()):
        same = now == before
        return Check("signature", same, f"takes {'what' if same else 'other than'} the champion takes")
    old, new = ({one.name: one for one in schema.inputs} for schema in (before, now))
    problems = [f"input {name!r} is gone" for name in old if name not in new]
    problems += [
        f"input {name!r} is {new[name].type}, not {one.type}"
        for name, one in old.items()
        if name in new and new[name].type != one.type
    ]
    problems += [f"input {name!r} is new and required" for name, one in new.items() if name not in old and one.required]
    problems += [
        f"input {name!r} is required now"
        for name, one in old.items()
        if name in new and new[name].required and not one.required
    ]
    return Check("signature", not problems, "; ".join(problems) or "takes what the champion takes")


def example_check(model: PyFuncModel) -> Check:
    """Whether the model answers its own input example."""
    try:
        example = model.input_example
        if example is None:
            return Check("input example", True, "none was logged")
        model.predict(example)
    except Exception as error:
        # The model's own code may raise anything.
        return Check("input example", False, f"it fails on its own: {type(error).__name__}: {first_line(error)}")
    return Check("input example", True, "answered")


def environment_check(model: PyFuncModel, rows: pd.DataFrame, uri: str) -> Check:
    """Whether the requirements of a model resolve, and it answers a row in an environment that has only these."""
    import mlflow

    if shutil.which("uv") is None:
        return Check("environment", False, "uv, which makes it, is not on the PATH: pip install uv")
    try:
        row = taken(model, rows, uri).head(1)
        with tempfile.TemporaryDirectory() as folder:
            # With a file for the answer: it would be printed.
            mlflow.models.predict(uri, input_data=row, env_manager="uv", output_path=f"{folder}/answer.json")
    except Exception as error:
        # What installs and runs the model is other programs, which print their reasons.
        said = f"it fails in one of its own requirements: {type(error).__name__}: {first_line(error)}"
        return Check("environment", False, f"{said}; the output above says why")
    return Check("environment", True, "answered in one of its own requirements")


def description_check(version: ModelVersion) -> Check:
    """Whether somebody said what the version is."""
    there = bool((version.description or "").strip())
    return Check("description", there, "there is one" if there else "the version has none: write what is new in it")


def tags_check(version: ModelVersion, wanted: Sequence[str]) -> Check:
    """Whether the version has some tags."""
    missing = [tag for tag in wanted if not version.tags.get(tag)]
    said = f"the version lacks {', '.join(map(repr, missing))}: set them on it" if missing else "all are there"
    return Check("tags", not missing, said)


def size_check(model: Model, most: float) -> Check:
    """Whether the model's files are small enough, in megabytes of 1,000,000 bytes."""
    size = model.model_size_bytes
    if size is None:
        return Check("size", False, "its size is not known: log the model with MLflow 2.10 or later")
    return Check("size", size <= most * _MEGABYTE, f"{size / _MEGABYTE:,.3g} MB, at most {most:,g} MB wanted")


def latency_check(model: PyFuncModel, rows: pd.DataFrame, uri: str, most: float) -> Check:
    """Whether one row is answered fast enough, in milliseconds."""
    found = latency_of(model, rows, uri)
    return Check("latency", found <= most, f"one row takes {found:,.3g} ms, at most {most:,g} ms wanted")
