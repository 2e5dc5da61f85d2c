"""What a notebook calls: deploy a model, list what runs, fetch rows to try it with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbazureml.deployment import local
from adbazureml.deployment.endpoint import Endpoint
from adbazureml.errors import DeploymentError
from adbazureml.uris import ModelURI, uri_of

if TYPE_CHECKING:
    import pandas as pd

_TARGETS = ("local",)
_HIGHEST_PORT = 65535


def deploy(
    model: ModelURI, *, name: str, target: str = "local", port: int = 0, keep: bool = False, timeout: float = 120
) -> Endpoint:
    """Serve a model under a name, and return once it is healthy.

    Again for the same model, the endpoint that runs is returned as it is. For another model its server is started and
    healthy first, then takes over, also at the same fixed port, and the old one stops; if it fails, the old one goes
    on serving.

    Parameters
    ----------
    model : str or RegisteredVersion
        What `register` returned, or any URI of a model that MLflow resolves: ``models:/name/3``, ``models:/m-…``,
        ``runs:/…/model``.
    name : str
        Name of the endpoint.
    target : {"local"}
        Where it runs: MLflow's scoring server on this machine, reachable from it only.
    port : int
        Port; 0 takes a free one, or leaves a running endpoint of the same model where it is.
    keep : bool
        Leave the server running when this process ends; `endpoints` finds it again. Otherwise it stops with the last
        process that asked for it, however that ends. The latest call decides.
    timeout : float
        Seconds in which the server has to become healthy.

    Returns
    -------
    Endpoint
        The endpoint, healthy.

    Raises
    ------
    DeploymentError
        A parameter is wrong, the port is in use, the model does not exist or can't be loaded, or the server is not
        healthy in time; with the end of its log.

    Examples
    --------
    >>> with deploy("models:/diabetes/3", name="diabetes") as endpoint:  # doctest: +SKIP
    ...     endpoint.score(frame)
    [152.1, 98.4]
    """
    from pydantic import TypeAdapter, ValidationError

    from adbazureml.settings import EndpointName

    if target not in _TARGETS:
        raise DeploymentError(f"deploy_target {target!r} is not known: set it to {' or '.join(map(repr, _TARGETS))}.")
    try:
        TypeAdapter(EndpointName).validate_python(name)
    except ValidationError as error:
        raise DeploymentError(
            f"endpoint_name {name!r} is wrong: use 3 to 32 lower-case letters, digits and '-', a letter first and no"
            " '-' last."
        ) from error
    if not isinstance(port, int) or not 0 <= port <= _HIGHEST_PORT:
        raise DeploymentError(
            f"endpoint_port {port!r} is out of range: set it to 1024 to {_HIGHEST_PORT}, or 0 for a free port."
        )
    return local.deploy(uri_of(model), name=name, port=port, keep=keep, timeout=timeout)


def endpoints() -> list[Endpoint]:
    """Endpoints that run on this machine, whichever process deployed them, by name."""
    return local.running()


def input_example(model: ModelURI) -> pd.DataFrame | None:
    """Return the rows that were logged with a model to try it with; None when there are none, or they are no table.

    Raises
    ------
    DeploymentError
        The model does not exist.
    """
    import pandas as pd

    example = local.find_model(uri_of(model)).load_input_example(uri_of(model))
    return example if isinstance(example, pd.DataFrame) else None
