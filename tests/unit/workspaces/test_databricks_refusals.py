"""What a refusal of Databricks means: the sentence of its kind, or that of all others."""

import pytest
from databricks.sdk.errors import BadRequest, NotFound, PermissionDenied, ResourceDoesNotExist

from adbazureml.workspaces.databricks_refusals import explain_error

MEANINGS = {
    "PermissionDenied": "{what} is not for you ({answer}).",
    "NotFound": "{what} is not there ({answer}).",
    "DatabricksError": "{what}: {answer}.",
}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionDenied("No rights.\nmore"), "it is not for you (No rights)."),
        (NotFound("No such {thing}."), "it is not there (No such {thing})."),
        # A kind of NotFound.
        (ResourceDoesNotExist("Gone."), "it is not there (Gone)."),
        (BadRequest("Too large."), "it: Too large."),
    ],
)
def test_the_sentence_of_its_kind_or_that_of_all_others(error, said):
    assert explain_error(error, MEANINGS, what="it") == said
