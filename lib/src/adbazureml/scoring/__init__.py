"""Score tables with a model from a run or a registry, and keep which model made each prediction."""

from adbazureml.scoring.batch import score
from adbazureml.scoring.scoring_model import predict
from adbazureml.scoring.request_rows import input_rows
from adbazureml.scoring.result import ScoringResult, ScoringStream
from adbazureml.scoring.source_table import select_rows

__all__ = ["ScoringResult", "ScoringStream", "input_rows", "predict", "score", "select_rows"]
