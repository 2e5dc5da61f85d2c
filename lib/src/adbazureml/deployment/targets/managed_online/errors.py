"""What Azure ML says of endpoints alone, in words that name the parameter and what to do."""

from __future__ import annotations

from contextlib import AbstractContextManager

from adbazureml.azure import azureml_refusals
from adbazureml.azure.azureml_refusals import Meaning, short
from adbazureml.errors import DeploymentError


def explaining_errors(what: str, *, instances: str = "") -> AbstractContextManager[None]:
    """Turn whatever Azure or its client raises into a `DeploymentError`; our own errors pass.

    Parameters
    ----------
    what : str
        What is being done, such as "endpoint 'diabetes'".
    instances : str
        The machines that were asked for, where quota may lack.
    """
    return azureml_refusals.explaining_errors(
        what,
        raised=DeploymentError,
        meanings=_meanings(what, instances),
        again="Deploy again, which goes on where this ended; or check the network from here.",
    )


def _meanings(what: str, instances: str) -> tuple[Meaning, ...]:
    return (
        (
            r"Not enough quota available for (\S+) .*?usage/limit: (\d+)/(\d+)\. Additional needed: (\d+)",
            lambda found: (
                f"instance_type and instance_count ({instances}): {what} needs {found[4]} more cores of {found[1]}, and"
                f" {found[2]} of the quota of {found[3]} are taken. Choose a smaller instance_type, delete endpoints"
                " that are not needed, or ask for more quota (Azure Machine Learning studio, Quota)."
            ),
        ),
        (
            r"already exists in region (\S+?)[.\s]*$",
            lambda found: (
                f"name: {what} can't be made, as another workspace of region {found[1]} has an endpoint of that"
                " name: choose another."
            ),
        ),
        (
            r"(?s)Image build failed[: ]*(.*)",
            lambda found: (
                f"The image of {what} could not be built: {short(found[1])}. Log the model with other pip_requirements."
            ),
        ),
        (
            r"(?s)ResourceNotReady: (.*)",
            lambda found: f"{what[:1].upper()}{what[1:]} did not get healthy: {short(found[1])}.",
        ),
    )
