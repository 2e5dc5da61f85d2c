"""Models whose classes are pickled whole, not by name, as they are made in functions: no server has this module."""


def line(slope):
    """Predict ``slope * age + visits / 7``.

    Age -1 takes a minute, -4 a second, -2 breaks the model, -3 is refused, -5 tells the environment's variables.
    """
    from sklearn.base import BaseEstimator, RegressorMixin

    class Line(RegressorMixin, BaseEstimator):
        def __init__(self, slope):
            self.slope = slope

        def predict(self, rows):
            import time

            if (rows["age"] == -1).any():
                time.sleep(60)
            if (rows["age"] == -4).any():
                time.sleep(1)
            if (rows["age"] == -2).any():
                raise RuntimeError("the weights\nare from another planet")
            if (rows["age"] == -5).any():
                # What it sees of the environment.
                import os

                return sorted(os.environ)
            if (rows["age"] == -3).any():
                raise ValueError("age can't be -3")
            return (rows["age"] * self.slope + rows["visits"] / 7).to_numpy()

    return Line(slope)


def liar():
    """Predict 1, but 2 where an inference server runs it."""
    from sklearn.base import BaseEstimator, RegressorMixin

    class Liar(RegressorMixin, BaseEstimator):
        def predict(self, rows):
            import os

            import numpy as np

            return np.full(len(rows), 2.0 if "AZUREML_MODEL_DIR" in os.environ else 1.0)

    return Liar()


def unloadable():
    """A model that can be logged only."""
    from sklearn.base import BaseEstimator, RegressorMixin

    class Unloadable(RegressorMixin, BaseEstimator):
        def predict(self, rows):
            return rows

        def __setstate__(self, state):
            raise RuntimeError("the weights are from another planet")

    made = Unloadable()
    made.weights_ = [1.0]
    return made


def all_types():
    """Predict as `line` of 2 does, plus what the optional columns hold: numbers, 1000 for true, hours, characters.

    Age -4 takes a second, -2, -6 and -7 break the model, -3 is refused.
    """
    from sklearn.base import BaseEstimator, RegressorMixin

    class AllTypes(RegressorMixin, BaseEstimator):
        def predict(self, rows):
            import time

            import pandas as pd

            if (rows["age"] == -4).any():
                time.sleep(1)
            if (rows["age"] == -2).any():
                raise RuntimeError("the weights\nare from another planet")
            if (rows["age"] == -6).any():
                return {}["weights"]
            if (rows["age"] == -7).any():
                return len(5)
            if (rows["age"] == -3).any():
                raise ValueError("age can't be -3")
            said = rows["age"] * 2 + rows["visits"] / 7
            for name in ("count", "small"):
                said = said + rows.get(name, 0)
            if "flag" in rows:
                said = said + 1000 * rows["flag"].astype(int)
            if "at" in rows:
                said = said + pd.to_datetime(rows["at"]).dt.hour
            if "code" in rows:
                said = said + rows["code"].str.len()
            return said.to_numpy(dtype=float)

    return AllTypes()
