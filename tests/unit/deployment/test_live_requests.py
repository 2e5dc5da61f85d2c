"""What the metrics that Databricks exports of a serving endpoint say of each served entity."""

from datetime import datetime, timezone

import pytest

from adbazureml.deployment.live_comparison import Minute
from adbazureml.deployment.targets import Local
from adbazureml.deployment.targets.model_serving.live_requests import live_requests
from adbazureml.errors import DeploymentError

MINUTE = datetime(2026, 8, 29, 11, 27, tzinfo=timezone.utc)
EXPORT = """# HELP request_count_total Number of requests
# TYPE request_count_total gauge
cpu_usage_percentage{endpoint_name="end",LABEL="v1"} 2.3 MOMENT
request_count_total{endpoint_name="end",LABEL="v1"} 90.0 MOMENT
request_count_total{endpoint_name="end",LABEL="v2"} 10.0 MOMENT
request_4xx_count_total{endpoint_name="end",LABEL="v2"} 2.0 MOMENT
request_5xx_count_total{LABEL="v2",endpoint_name="end"} 3.0 MOMENT
request_latency_ms_bucket{endpoint_name="end",LABEL="v1",le="+Inf"} 90.0 MOMENT
request_latency_ms_bucket{endpoint_name="end",LABEL="v1",le="50"} 88.0 MOMENT
request_latency_ms_sum{endpoint_name="end",LABEL="v1"} 1234.5 MOMENT
# EOF
""".replace("MOMENT", str(int(MINUTE.timestamp() * 1000)))


@pytest.mark.parametrize("label", ["served_entity_name", "served_model_name", "entity"])
def test_requests_errors_and_latency_by_entity_whatever_its_label_is_called(label):
    assert live_requests(EXPORT.replace("LABEL", label), {"v1", "v2"}) == {
        "v1": {MINUTE: Minute(requests=90, errors=0, within=((50.0, 88.0), (float("inf"), 90.0)))},
        "v2": {MINUTE: Minute(requests=10, errors=5)},
    }


@pytest.mark.parametrize("exported", ["", EXPORT, EXPORT.replace('LABEL="v1"', 'a="b"').replace('LABEL="v2"', 'a="b"')])
def test_an_export_that_does_not_tell_entities_apart_is_refused(exported):
    with pytest.raises(DeploymentError, match=r"^watch: .* do not tell its served entities apart: leave watch out"):
        live_requests(exported, {"other"})


def test_a_target_that_does_not_tell_says_so():
    with pytest.raises(DeploymentError, match=r"^watch: target 'local' does not tell how the requests of each"):
        Local().connect(None).live("end", MINUTE)
