"""Score tables with a model from a run or a registry, and keep which model made each prediction."""

from adbazureml.scoring.batch import score
from adbazureml.scoring.model import predict
from adbazureml.scoring.rows import input_rows
from adbazureml.scoring.scored import Scored, ScoringStream
from adbazureml.scoring.source import select_rows

__all__ = ["Scored", "ScoringStream", "input_rows", "predict", "score", "select_rows"]
