import numpy as np
import pandas as pd
import pytest

from adbazureml.samples import TrainingTable


@pytest.fixture
def lettings():
    """Rows with numbers, a flag and a text, of each of which some are missing; and what they say of the label."""
    rng = np.random.default_rng(0)
    size, lift = rng.uniform(20, 180, 300), (rng.random(300) < 0.5).astype(float)
    city = rng.choice(["Bern", "Genf", "Zürich"], 300)
    rent = 400 + 18 * size + 120 * lift + np.where(city == "Zürich", 600, 0)
    rows = pd.DataFrame({"m² (net)": size, "lift": lift, "city.name": city, "rent": rent})
    for name in ("m² (net)", "lift", "city.name"):
        rows.loc[rng.choice(300, 20, replace=False), name] = None
    return rows


@pytest.fixture
def described():
    """What `training_data` finds of these rows, without a Spark that holds them."""

    def describe(label="rent", classes=()):
        return TrainingTable(
            name="lettings",
            rows=None,
            frame=None,
            features=("m² (net)", "lift", "city.name"),
            numbers=("m² (net)",),
            booleans=("lift",),
            texts=("city.name",),
            label=label,
            task="classification" if classes else "regression",
            reason="so",
            classes=classes,
            left_out={},
            unlabelled=0,
        )

    return describe
