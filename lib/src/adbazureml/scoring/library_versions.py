"""A model that does not load here: which libraries it was logged with, and which are here."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from adbazureml.scoring.source_table import explain_error

# Only exact pins say what a model was logged with: https://peps.python.org/pep-0440/#version-matching
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?\s*===?\s*(?P<version>[^\s;*]+)\s*(;.*)?$")


def load_failure(uri: str) -> str:
    """Why a model can't be loaded in this process, in one sentence; empty where it can, or where Spark loads it."""
    import mlflow
    from mlflow.models import get_model_info

    try:
        if "spark" not in get_model_info(uri).flavors:
            mlflow.pyfunc.load_model(uri)
    except Exception as error:
        # Unpickling may raise anything.
        return explain_load(uri, error)
    return ""


def explain_failed_batch(error: Exception, model_uri: str, *, into: str) -> str:
    """What stopped a batch of rows for the table `into`: the model does not load, or failed on a row."""
    if unloadable := load_failure(model_uri):
        return f"{unloadable} The rows in {into} are as before."
    return f"Scoring into {into} failed, its rows are as before: {explain_error(error)}. Correct this and score again."


def explain_load(uri: str, error: Exception) -> str:
    """What to do about a model that did not load."""
    differing = _differing(uri)
    said = f"model: {uri!r} can't be loaded: {explain_error(error)}."
    if not differing:
        return said
    logged = ", ".join(f"{name} {then}" for name, then, _ in differing)
    here = ", ".join(f"{name} {now}" if now else f"no {name}" for name, _, now in differing)
    return f"{said} It was logged with {logged}; here is {here}. Install what it was logged with, or log it anew here."


def _differing(uri: str) -> list[tuple[str, str, str]]:
    """Name, version it was logged with and version here, which is empty where there is none, of what differs."""
    import mlflow
    import yaml
    from mlflow.exceptions import MlflowException

    found = []
    try:
        requirements = Path(mlflow.artifacts.download_artifacts(f"{uri.rstrip('/')}/requirements.txt"))
        python = Path(mlflow.artifacts.download_artifacts(f"{uri.rstrip('/')}/python_env.yaml"))
    except (MlflowException, OSError):
        # Logged without; then there is nothing to tell.
        return []
    then = str(yaml.safe_load(python.read_text(encoding="utf-8")).get("python", ""))
    if then.split(".")[:2] != platform.python_version().split(".")[:2]:
        found.append(("Python", then, platform.python_version()))
    pins = map(_PIN.match, requirements.read_text(encoding="utf-8").splitlines())
    for pin in filter(None, pins):
        try:
            now = version(pin["name"])
        except PackageNotFoundError:
            now = ""
        if now != pin["version"]:
            found.append((pin["name"], pin["version"], now))
    return found
