"""Judge a new model version before it goes live: against the one in use, on the same rows, and by limits.

It may import the registry, whose aliases say which version is in use, and scoring, which brings rows as models take
them. Start reading at `validating.validate`.
"""

from adbazureml.validation.validating import validate
from adbazureml.validation.verdict import Check, Verdict

__all__ = ["Check", "Verdict", "validate"]
