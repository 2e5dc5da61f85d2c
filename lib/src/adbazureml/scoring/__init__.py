"""Score tables with a model from a run or a registry, and keep which model made each prediction.

It imports `registry`'s model URIs and what is below. Start reading at `batch`, then `exactly_once`, which says why no
row is lost or doubled, and `predictions_table`.
"""

from adbazureml.scoring.batch import score
from adbazureml.scoring.request_rows import input_rows
from adbazureml.scoring.result import ScoringResult, ScoringStream
from adbazureml.scoring.scoring_model import predict
from adbazureml.scoring.source_table import select_rows

__all__ = ["ScoringResult", "ScoringStream", "input_rows", "predict", "score", "select_rows"]
