"""What the answer of a scoring server means: one table for all servers, and what one service adds."""

import json

import pytest
import requests

from adbazureml.deployment.scoring_client import explain_answer
from adbazureml.deployment.targets.managed_online.scoring_client import Scorer


def answer(status, content, **headers):
    made = requests.Response()
    made.status_code = status
    made._content = json.dumps(content).encode()
    made.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return made


@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        (401, {}, "it does not accept the key or token (401): deploy with the auth that callers use."),
        (403, {}, "it does not accept the key or token (403): deploy with the auth that callers use."),
        (400, {"message": "no age"}, "The model refused the rows: no age"),
        (400, {"error": {"message": "no age"}}, "The model refused the rows: no age"),
        (400, {"error": "no age"}, "The model refused the rows: no age"),
        (500, {"message": "broken"}, "The endpoint failed (500): broken"),
        (502, "not what was asked", 'The endpoint failed (502): "not what was asked"'),
    ],
)
def test_a_status_by_the_table_or_what_the_server_says(status, content, said):
    assert explain_answer(answer(status, content), "it") == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (answer(403, {}), "Endpoint 'e', deployment 'd' does not accept the key or token (403)"),
        (answer(404, {}), "No deployment of endpoint 'e', deployment 'd' takes requests"),
        (answer(424, {"message": "no age"}, ms_azureml_model_error_statuscode="400"), "The model refused the rows: no"),
        (answer(424, {"message": "bug"}, ms_azureml_model_error_statuscode="500"), "The endpoint failed (500): bug"),
        (answer(424, {"message": "bug"}), "The model behind endpoint 'e', deployment 'd' failed: bug; logs() tells"),
        (answer(408, {}), "Endpoint 'e' did not answer within request_timeout 60 s: send fewer rows at once"),
    ],
)
def test_an_online_endpoint_adds_its_own_meanings(given, said):
    assert str(Scorer(None, timeout=60)._refusal("e", "d", given)).startswith(said)
