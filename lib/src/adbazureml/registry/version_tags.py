"""The tags of registered versions: what each was made of, and where its counterpart is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adbazureml.workspaces import Workspace

# Tags of a version. Unity Catalog takes none of ". , - = / :" in a tag's key.
RUN_ID = "adbazureml_run_id"
MODEL = "adbazureml_model"
# Tells the versions of one call, should an answer be lost and the request be sent again.
REQUEST = "adbazureml_request"
# Of a copy: the version that it was made of, as workspace/name/number, and its page.
COPIED_FROM = "adbazureml_copied_from"
COPIED_FROM_URL = "adbazureml_copied_from_url"
# Where the counterpart in the other workspace is.
COUNTERPART_WORKSPACE = "adbazureml_counterpart_workspace"
COUNTERPART_VERSION = "adbazureml_counterpart_version"
COUNTERPART_RUN = "adbazureml_counterpart_run_id"
COUNTERPART_URL = "adbazureml_counterpart_url"
# Tag of the registered model in Azure ML: the name that it was made for.
DATABRICKS_NAME = "adbazureml_databricks_name"
# What begins so, and which version had an alias before, is not so of a copy.
_OF_ITS_PLACE = ("adbazureml_counterpart_", REQUEST, "adbazureml.")
_BEFORE = "_before"


def origin_of(place: Workspace, name: str, number: str) -> str:
    """Value of `COPIED_FROM` for a copy of a version."""
    return f"{place.name}/{name}/{number}"


def alias_tag(alias: str) -> str:
    """Tag of a version in an Azure ML registry, which has no aliases: it has this one."""
    return f"adbazureml.alias.{alias}"


def before_tag(alias: str) -> str:
    """Tag of a version: the one that had the alias before it did. Unity Catalog takes no '-' in a tag's key."""
    return f"adbazureml_{re.sub(r'[^A-Za-z0-9]', '_', alias)}{_BEFORE}"


def is_of_its_place(key: str) -> bool:
    """Whether a tag says where a version is, or what became of it there, which is not so of its copy."""
    return key.startswith(_OF_ITS_PLACE) or (key.startswith("adbazureml_") and key.endswith(_BEFORE))
