"""Judge a new model version before it goes live: against the one in use, on the same rows, and by limits.

It imports `registry`, whose aliases say which version is in use, `scoring`, which brings rows as models take them, and
what is below. Start reading at `champion_comparison`, then `verdict`.
"""

from adbazureml.validation.champion_comparison import validate
from adbazureml.validation.verdict import Check, Verdict

__all__ = ["Check", "Verdict", "validate"]
