"""Names that a registered model has in the two registries, and tags that lead from one to the other."""

from __future__ import annotations

import hashlib
import re

# Tags of a version. Unity Catalog takes none of ". , - = / :" in a tag's key.
RUN_ID = "adbazureml_run_id"
MODEL = "adbazureml_model"
# Where the counterpart in the other workspace is.
COUNTERPART_WORKSPACE = "adbazureml_counterpart_workspace"
COUNTERPART_VERSION = "adbazureml_counterpart_version"
COUNTERPART_RUN = "adbazureml_counterpart_run_id"
COUNTERPART_URL = "adbazureml_counterpart_url"


def azureml_model_name(name: str) -> str:
    """Give the name in Azure ML of a model that Databricks registers under ``name``.

    Azure ML takes up to 255 letters, digits, '-', '_' and '.', beginning with a letter or digit. The dots between
    catalog, schema and model become ``--``, in small letters, as Unity Catalog has no capitals. A name that Azure ML
    would refuse keeps what is readable, and eight hex digits of its SHA-256 keep it apart from others.

    >>> azureml_model_name("main.houses.prices")
    'main--houses--prices'
    >>> azureml_model_name("house prices")
    'house-prices-7c775f49'
    """
    plain = name.lower().replace(".", "--") if name.count(".") == 2 else name
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", plain):
        return plain
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-_.")[:200] or "model"
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
