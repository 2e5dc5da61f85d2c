"""Names of metrics that MLflow and Azure ML both take."""

from __future__ import annotations

import re
from collections.abc import Sequence

# The stricter of what both take; '/' would put a name into a group of its own.
_NOT_IN_METRIC_NAMES = re.compile(r"[^A-Za-z0-9_\-. ]")
_LONGEST = 200


def metric_names(wanted: Sequence[str]) -> list[str]:
    """A name for each thing that MLflow and Azure ML take, no two alike."""
    names: list[str] = []
    for one in wanted:
        # MLflow reads a name as a path: one of dots alone would lead out of its group.
        cleaned = _NOT_IN_METRIC_NAMES.sub("_", one)[:_LONGEST]
        cleaned = cleaned if cleaned.strip(".") else "_" * len(cleaned)
        name, number = cleaned, 2
        while name.lower() in {other.lower() for other in names}:
            name, number = f"{cleaned}_{number}", number + 1
        names.append(name)
    return names
