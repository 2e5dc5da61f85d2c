"""What a notebook offers around its cells: parameters, `display`, the user's name."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from io import BytesIO
from typing import Any

from adbazureml.errors import EnvironmentNotReadyError
from adbazureml.runtime.place import on_databricks

ROWS_SHOWN = 20


def notebook_global(name: str) -> Any:
    """Return what Databricks puts into every notebook's namespace (`dbutils`, `display`), or None."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return None if shell is None else shell.user_ns.get(name)


def in_notebook() -> bool:
    """Whether a cell's last value is shown without being printed."""
    from IPython.core.getipython import get_ipython

    return get_ipython() is not None


def dbutils() -> Any:
    """Return the notebook's ``dbutils``.

    Raises
    ------
    EnvironmentNotReadyError
        On Databricks, but outside a notebook.
    """
    found = notebook_global("dbutils")
    if found is None:
        raise EnvironmentNotReadyError(
            "dbutils is not there: call this from a Databricks notebook, not from a plain Python process."
        )
    return found


def parameters(defaults: Mapping[str, str], *, others: Iterable[str]) -> dict[str, str]:
    """Show a widget for each parameter and return what it holds; empty off Databricks.

    A job's parameters arrive as the values of widgets of the same name, so one read serves a person and a job.

    Parameters
    ----------
    defaults : mapping of str to str
        The parameters that get a widget, with the value that a new one shows.
    others : iterable of str
        Parameters without a widget, read if the job passes them.

    Returns
    -------
    dict of str to str
        The value of each parameter, and whatever else the job passed.
    """
    if not on_databricks():
        return {}
    widgets = dbutils().widgets
    for name, default in defaults.items():
        widgets.text(name, default)
    values = {**widgets.getAll(), **{name: widgets.get(name) for name in defaults}}
    for name in others:
        # dbutils has no question for it: a parameter that was not passed is an error of the JVM's.
        with suppress(Exception):
            values[name] = widgets.get(name)
    return values


def in_job() -> bool:
    """Whether a Databricks job runs this notebook, and not a person."""
    if not on_databricks():
        return False
    from mlflow.utils.databricks_utils import is_in_databricks_job

    return bool(is_in_databricks_job())


def display(thing: Any) -> None:
    """Show a table, a figure or a report: with Databricks' own `display` there, with Jupyter's elsewhere.

    A local Spark DataFrame is shown as its first 20 rows.
    """
    if (own := notebook_display()) is not display:
        own(thing)
        return
    from IPython.display import Image
    from IPython.display import display as jupyter_display

    if _is_spark_frame(thing):
        thing = thing.limit(ROWS_SHOWN).toPandas()
    elif hasattr(thing, "savefig"):
        # Jupyter shows a figure by itself only if pyplot made it.
        png = BytesIO()
        thing.savefig(png, format="png", dpi=100)
        thing = Image(png.getvalue())
    jupyter_display(thing)


def notebook_display() -> Callable[[Any], Any]:
    """What a notebook gets that imports ``display``: on Databricks its own one, which that name must go on to mean."""
    return (on_databricks() and notebook_global("display")) or display


def _is_spark_frame(thing: Any) -> bool:
    return type(thing).__module__.startswith("pyspark.") and hasattr(thing, "toPandas")


def user_name() -> str:
    """The user as the workspace names them (their address), locally the login name."""
    if not on_databricks():
        return getpass.getuser()
    from databricks.sdk import WorkspaceClient

    return str(WorkspaceClient().current_user.me().user_name)
