"""Judge a new model version before it goes live: against the one in use, on the same rows, and by rules.

It imports `registry`, whose aliases say which version is in use, `scoring`, which brings rows as models take them, and
what is below. Start reading at `champion_comparison`, then `verdict`.
"""

from adbazureml.validation.champion_comparison import validate
from adbazureml.validation.rules import Rules, Threshold, read_rules
from adbazureml.validation.verdict import Check, Comparison, Verdict

__all__ = ["Check", "Comparison", "Rules", "Threshold", "Verdict", "read_rules", "validate"]
