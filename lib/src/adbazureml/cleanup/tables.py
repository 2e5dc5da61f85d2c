"""The project's tables, and the checkpoints that tell how far one was written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.cleanup.items import Item
from adbazureml.registry.model_names import azureml_model_name
from adbazureml.scoring.exactly_once import checkpoints_of
from adbazureml.settings import SAMPLE_PROPERTY
from adbazureml.text import name_parts
from adbazureml.workspaces import DatabricksWorkspace

if TYPE_CHECKING:
    from adbazureml.settings import Settings


def tables(settings: Settings) -> tuple[list[Item], list[str]]:
    """List the tables that this project wrote, and tell of those that have such a name and are somebody else's.

    The samples are known by a table property. What `score` and `monitor` write names the model in each row: a table
    with rows of another model is left alone.
    """
    items: list[Item] = []
    left: list[str] = []
    for table in _there(settings.predictions_table, settings.rejected_table, settings.drift_table):
        others = _other_models(table, settings)
        if others:
            left.append(f"table {table}: {others}.")
            continue
        if table == settings.predictions_table:
            items += _checkpoints(table, settings.checkpoints)
        items.append(_table(table))
    for table in _there(settings.scoring_table, settings.training_table):
        if SAMPLE_PROPERTY in runtime.table_properties(table):
            items.append(_table(table))
        else:
            left.append(f"table {table}: it is not the sample, so it is your own.")
    return items, left


def _there(*named: str) -> list[str]:
    wanted = [table for table in dict.fromkeys(named) if table]
    if not runtime.on_databricks():
        # Told without starting Spark.
        known = runtime.registered_tables()
        return [table for table in wanted if name_parts(table)[-1] in known]
    return [table for table in wanted if runtime.table_exists(table)]


def _other_models(table: str, settings: Settings) -> str:
    """What else is in a table of predictions or figures; empty where all is this project's."""
    from pyspark.sql import functions

    frame = runtime.table(table)
    if "model_uri" not in frame.columns:
        return "it has no column model_uri, so this package did not write it"
    ours = {name.lower() for model in settings.model_names for name in (model, azureml_model_name(model))}
    model = functions.lower(functions.regexp_replace("model_uri", r"^models:/|/\d+$", ""))
    others = [str(row[0]) for row in frame.select(model.alias("model")).distinct().collect() if row[0] not in ours]
    return f"it holds rows of other models ({', '.join(sorted(others))})" if others else ""


def _table(name: str) -> Item:
    detail = runtime.spark().sql(f"DESCRIBE DETAIL {runtime.quoted_table(name)}").first()
    assert detail is not None
    made = detail["createdAt"]
    return Item(
        kind="table",
        name=name,
        where=detail["location"],
        # Spark gives the time as this process's clock shows it.
        made=made.astimezone(timezone.utc) if made else None,
        link=DatabricksWorkspace.current().table_url(name),
    )


def _checkpoints(table: str, root: str) -> Iterator[Item]:
    for folder in checkpoints_of(table, root=root):
        made = datetime.fromtimestamp(folder.stat().st_mtime, timezone.utc)
        yield Item(kind="checkpoint", name=folder.name, where=str(folder), made=made, note=f"of table {table}")


def drop_checkpoint(item: Item) -> None:
    """Delete a checkpoint's folder."""
    if Path(item.where).exists():
        shutil.rmtree(item.where)
