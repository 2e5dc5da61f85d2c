"""One page that says what the walk came to, for whoever opens it: what is in use, what was found, what to do next.

It imports what the steps left in the two workspaces, not the steps: `registry`, `tracking` and what is below, and the
names of `validation`'s tags. Start reading at `page`, which is plain values and their HTML; then `gathering`.
"""

from adbazureml.report.gathering import walk_report
from adbazureml.report.page import Report

__all__ = ["Report", "walk_report"]
