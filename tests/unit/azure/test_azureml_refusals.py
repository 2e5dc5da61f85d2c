"""What a refusal of Azure ML means: the same words from whichever service, and what one service adds."""

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError

from adbazureml.azure.azureml_refusals import explain_status, explaining_errors
from adbazureml.errors import DeploymentError, WorkspaceError


def refusal(status, message):
    error = HttpResponseError(message)
    error.status_code = status
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            refusal(403, "no rights"),
            r"^This identity.* may not change or read it \(no rights\) \(403\): give it",
        ),
        (refusal(401, "no"), r"does not accept the token of this identity.* for it \(no\) \(401\).*AZURE_TENANT_ID"),
        (refusal(503, "busy"), r"^Azure did not answer for it: busy\. Again\. Mind this\.$"),
        (ServiceRequestError("no route"), r"^Azure did not answer for it: no route\. Again\. Mind this\.$"),
        (refusal(400, "too many"), r"^Azure ML refused it: too many\. Mind this\.$"),
        (refusal(400, "quota of 4"), r"^Quota 4\. Mind this\.$"),
    ],
)
def test_an_error_of_azures_client(error, said):
    meanings = [(r"quota of (\d)", lambda found: f"Quota {found[1]}.")]
    with (
        pytest.raises(DeploymentError, match=said) as raised,
        explaining_errors("it", raised=DeploymentError, meanings=meanings, again="Again.", advice="Mind this."),
    ):
        raise error
    assert raised.value.__cause__ is None


def test_our_own_errors_pass():
    with pytest.raises(WorkspaceError, match="ours"), explaining_errors("it", raised=DeploymentError):
        raise WorkspaceError("ours")


def test_a_status_alone():
    assert explain_status(403, "it").startswith("This identity may not change or read it (403): give it the role")
    assert explain_status(400, "it") is None
