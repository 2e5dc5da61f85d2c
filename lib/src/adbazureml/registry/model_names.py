"""Names of registered models: each registry takes others, and one follows from the other."""

from __future__ import annotations

import hashlib
import re


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
    whole = databricks_model_name(name)
    plain = whole.replace(".", "--") if whole.count(".") == 2 else whole
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", plain):
        return plain
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-_.")[:200] or "model"
    return f"{readable}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def databricks_model_name(name: str) -> str:
    """Give the name as Databricks keeps it: in small letters where it has Unity Catalog's three parts.

    >>> databricks_model_name("Main.houses.Prices")
    'main.houses.prices'
    """
    return name.lower() if name.count(".") == 2 else name
