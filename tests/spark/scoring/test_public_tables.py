"""Tables that come with scikit-learn, names as they are: learned, scored, grown by rows and a column, scored again."""

import mlflow
import numpy as np
import pytest
from mlflow.models import infer_signature
from sklearn import datasets
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adbazureml import runtime
from adbazureml.scoring import score
from adbazureml.text import identifier

ROWS = 120


@pytest.mark.parametrize(
    "name",
    [
        "iris",
        *(pytest.param(name, marks=pytest.mark.full) for name in ("diabetes", "wine", "breast_cancer", "digits")),
    ],
)
def test_a_table_that_grows_has_the_models_own_answers(spark, into, folder, name):
    table = getattr(datasets, f"load_{name}")(as_frame=True)
    features, label = table.data, table.target
    model = make_pipeline(StandardScaler(), LogisticRegression() if label.nunique() < 20 else Ridge())
    model.fit(features, label)
    signature = infer_signature(features, np.asarray(model.predict(features)))
    with mlflow.start_run():
        uri = mlflow.sklearn.log_model(model, name="model", signature=signature, pip_requirements=["mlflow"]).model_uri
    rows = features.assign(row=np.arange(len(features))).sample(ROWS, random_state=0)
    source = f"{into}_source"
    how = {"table": source, "model": uri, "into": into, "checkpoints": folder}
    try:
        first = spark.createDataFrame(rows[: ROWS // 2])
        first.writeTo(source).using("delta").tableProperty("delta.columnMapping.mode", "name").create()
        assert score(**how).rows == ROWS // 2
        spark.sql(f"ALTER TABLE {source} ADD COLUMN {identifier('a note, (free)')} STRING")
        later = spark.createDataFrame(rows[ROWS // 2 :].assign(**{"a note, (free)": "new"}))
        later.writeTo(source).append()
        assert score(**how).rows == ROWS - ROWS // 2
        found = spark.table(into).toPandas().set_index("row")
    finally:
        runtime.drop_table(source)
    assert sorted(found.index) == sorted(rows["row"])
    expected = model.predict(features.loc[found.index])
    assert np.allclose(found["prediction"].astype(float), expected)
    assert found["a note, (free)"].isna().sum() == ROWS // 2
