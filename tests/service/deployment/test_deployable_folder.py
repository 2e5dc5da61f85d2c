"""The deployable folder, started as Azure's images start it, where the working directory can't be written."""

import http.server
import json
import threading
import time

import mlflow
import pandas as pd
import psutil
import pytest
import requests
from pyspark.ml import Pipeline
from pyspark.ml.feature import SQLTransformer
from tests.emulators.inference_server import InferenceServer

from adbazureml.deployment import deploy
from adbazureml.deployment.deployable import Deployable

from .conftest import SIGNATURE

READ_ONLY = "/proc"
LONGEST_START_S = 15


@pytest.fixture
def collected():
    """What Azure ML's data collector, beside the server in a deployment's pod, was sent."""
    received = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.headers["ce-type"], self.headers["ce-x-request-id"], json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, received
        server.shutdown()


def test_starts_where_nothing_can_be_written_and_collects_what_it_is_asked(store, frame, collected):
    port, received = collected
    folder = Deployable(uri=store.v1, model=mlflow.models.Model.load(store.v1)).folder
    with InferenceServer(
        script=folder.code / "score.py",
        model=folder.model,
        requirements=folder.conda,
        directory=READ_ONLY,
        environment={"AZUREML_MDC_ENABLED": "true", "AZUREML_MDC_PORT": str(port)},
    ) as server:
        server.wait(400)
        times = [each.cpu_times() for each in psutil.Process(server.process.pid).children(recursive=True)]
        assert sum(each.user + each.system for each in times) < LONGEST_START_S
        assert "unable to open database" not in server.log()
        rows = frame.head(2).to_dict(orient="split", index=False)
        answer = requests.post(f"{server.url}/score", json={"input_data": rows}, timeout=60).json()
        deadline = time.monotonic() + 60
        while len(received) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert answer["predictions"] == pytest.approx((frame["age"] * 2 + frame["visits"] / 7).head(2).tolist())
    (inputs, outputs) = sorted(received)
    assert inputs[0].endswith("model_inputs")
    assert [row["age"] for row in inputs[2]] == pytest.approx(frame["age"].head(2).tolist())
    assert outputs[0].endswith("model_outputs")
    assert inputs[1] == outputs[1]


@pytest.mark.full
def test_model_that_cannot_be_loaded_ends_the_server_with_the_reason(store):
    folder = Deployable(uri=store.broken, model=mlflow.models.Model.load(store.broken)).folder
    with InferenceServer(script=folder.code / "score.py", model=folder.model, requirements=folder.conda) as server:
        with pytest.raises(RuntimeError, match="RuntimeError: the weights are from another planet"):
            server.wait(400)
        assert server.process.wait(30) != 0


@pytest.mark.spark
@pytest.mark.full
def test_spark_ml_model_is_served_when_asked_for(store, spark, tmp_path):
    rows = pd.DataFrame({"age": [1.0, 2.5], "visits": [0.0, 1.0]})
    doubled = SQLTransformer(statement="SELECT *, age * 2 AS prediction FROM __THIS__")
    model = Pipeline(stages=[doubled]).fit(spark.createDataFrame(rows))
    mlflow.spark.save_model(
        model,
        str(tmp_path / "model"),
        signature=SIGNATURE,
        input_example=rows,
        pip_requirements=["pyspark==4.1.0", "pandas==2.2.3", "numpy==2.1.3"],
    )
    with deploy(str(tmp_path / "model"), name="spark-ml", accept_slow=True, timeout=500) as endpoint:
        assert endpoint.score(rows) == [2.0, 5.0]
        assert endpoint.status().deployments[0].note == ""
