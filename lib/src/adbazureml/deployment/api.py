"""What a notebook calls: deploy a model, list what runs, fetch rows to try it with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adbazureml.deployment import rollout
from adbazureml.deployment.endpoint import Endpoint, Endpoints
from adbazureml.deployment.live_comparison import LiveLimits
from adbazureml.deployment.model_lookup import check_servable, describe, find_model, register_where_missing
from adbazureml.deployment.progress_line import progress
from adbazureml.deployment.target import Deadline, Kind, Target
from adbazureml.deployment.target_options import TargetOptions
from adbazureml.deployment.targets import options_of
from adbazureml.errors import DeploymentError
from adbazureml.registry.model_uri import ModelURI, uri_of
from adbazureml.runtime.extras import missing_of, pip_install
from adbazureml.workspaces.install.report import EXTRAS

if TYPE_CHECKING:
    import pandas as pd

    from adbazureml.workspaces import AzureMLWorkspace


def deploy(
    model: ModelURI,
    *,
    name: str,
    target: Kind | TargetOptions = "local",
    workspace: AzureMLWorkspace | None = None,
    steps: Sequence[int] = (100,),
    watch: LiveLimits | None = None,
    timeout: float | None = None,
    accept_slow: bool = False,
) -> Endpoint:
    """Put a model behind an endpoint, and return once it answers there as the model does.

    On an endpoint that serves another model, the new one comes up beside it without traffic. Its answers to the
    model's input example are compared with the model's own; then the traffic moves. If anything fails, the old one goes
    on serving. The one before stays for `Endpoint.rollback`, older ones go. Again for the same model, nothing is
    changed; a deployment whose process was killed half-way is gone on with.

    Parameters
    ----------
    model : str, RegisteredVersion, ModelVersion or ModelInfo
        What `register`, ``mlflow.register_model`` or ``log_model`` returned, or any URI of a model that MLflow
        resolves: ``models:/name/3``, ``models:/m-…``, ``runs:/…/model``. For Azure ML, a version that is registered in
        Databricks only is registered there too.
    name : str
        Name of the endpoint.
    target : Local, ManagedOnline, Kubernetes, ContainerInstances or ModelServing
        Where it runs, and how: a server on this machine, reachable from it only; an Azure ML managed online endpoint; a
        Kubernetes online endpoint; Azure Container Instances; Databricks Model Serving. With the defaults of its
        options it is named for short: "local", "azureml", "aks", "aci", "databricks".
    workspace : AzureMLWorkspace, optional
        Needed for the Azure targets.
    steps : sequence of int
        Percent of the traffic that a new version gets, one after the other. Where the last is less than 100, the
        traffic stays split until the version is deployed once more, which promotes it, or `Endpoint.rollback`. An
        endpoint's first version gets all.
    watch : LiveLimits, optional
        Watch the requests of callers at each step below 100, for as long as this says. A version that is worse on them
        than the one before, by more than the limits and by more than chance, gives way to it; one that got too few
        requests to tell stays at its step, with a warning.
    timeout : float, optional
        Seconds in which it has to be done; without, what the target needs, and the time for watching.
    accept_slow : bool
        Serve a Spark ML model all the same: it answers about 100 times slower than others (0.5 s a row), needs Java
        and 1.3 GB of memory.

    Returns
    -------
    Endpoint
        The endpoint, healthy.

    Raises
    ------
    DeploymentError
        A parameter is wrong, the model does not exist or can't be served there, its requirements don't resolve with the
        server's, the service refused, it is not healthy in time, or it was worse on the requests of callers; with the
        end of its log.

    Examples
    --------
    >>> with deploy("models:/diabetes/3", name="diabetes") as endpoint:  # doctest: +SKIP
    ...     endpoint.score(frame)
    [152.1, 98.4]
    >>> deploy(  # doctest: +SKIP
    ...     "models:/diabetes/3",
    ...     name="diabetes",
    ...     target=ManagedOnline(instance_type="Standard_F4s_v2"),
    ...     workspace=workspace,
    ... )
    """
    options = options_of(target)
    place = _connect(options, workspace)
    _check_parameters(name, place, steps, watch)
    found = find_model(model, workspace)
    check_servable(found, accept_slow=accept_slow)
    deployable = register_where_missing(found, model, place, workspace)
    place.check(name, deployable)
    watched = watch.seconds * len(steps) if watch else 0
    with progress(f"endpoint {name!r}") as show:
        rollout.RollOut(
            target=place,
            name=name,
            deployment=rollout.deployment_name(deployable, options),
            model=deployable,
            progress=show,
            deadline=Deadline.after(place.timeout + watched if timeout is None else timeout),
            watch=watch,
        ).run(steps)
    place.hold(name)
    return _endpoint(name, place)


def endpoints(*, target: Kind | TargetOptions = "local", workspace: AzureMLWorkspace | None = None) -> Endpoints:
    """Endpoints that hold a model deployed by this package, whoever deployed it, by name.

    Parameters
    ----------
    target : {"local", "azureml", "aks", "aci", "databricks"} or TargetOptions
        Where to look.
    workspace : AzureMLWorkspace, optional
        Needed for the Azure targets.
    """
    place = _connect(options_of(target), workspace)
    return Endpoints(Endpoint(name=state.name, kind=state.kind, url=state.url, target=place) for state in place.list())


def find_endpoint(
    name: str, *, target: Kind | TargetOptions = "local", workspace: AzureMLWorkspace | None = None
) -> Endpoint:
    """Return an endpoint that was deployed before, to score, roll back or delete.

    Raises
    ------
    DeploymentError
        There is none of that name.
    """
    return _endpoint(name, _connect(options_of(target), workspace))


def input_example(model: ModelURI) -> pd.DataFrame | None:
    """Return the rows that were logged with a model to try it with; None when there are none, or they are no table.

    Raises
    ------
    DeploymentError
        The model does not exist.
    """
    import pandas as pd

    example = describe(uri_of(model)).load_input_example(uri_of(model))
    return example if isinstance(example, pd.DataFrame) else None


def _endpoint(name: str, place: Target) -> Endpoint:
    state = place.find(name)
    if state is None:
        raise DeploymentError(f"name {name!r}: there is no such endpoint ({place.kind}); deploy a model there.")
    return Endpoint(name=name, kind=state.kind, url=state.url, target=place)


def _connect(options: TargetOptions, workspace: AzureMLWorkspace | None) -> Target:
    extra = EXTRAS.get(options.kind)
    if extra and (missing := missing_of(extra)):
        raise DeploymentError(
            f"target {options.kind!r} needs packages that are not installed ({', '.join(missing)}):"
            f" {pip_install(extra)}, or run notebook 01_install with deploy_target {options.kind!r}."
        )
    return options.connect(workspace)


def _check_parameters(name: str, place: Target, steps: Sequence[int], watch: LiveLimits | None) -> None:
    from pydantic import TypeAdapter, ValidationError

    from adbazureml.settings import EndpointName

    try:
        TypeAdapter(EndpointName).validate_python(name)
    except ValidationError as error:
        raise DeploymentError(
            f"name {name!r} is wrong: use 3 to 32 lower-case letters, digits and '-', a letter first and no '-' last."
        ) from error
    if not steps or list(steps) != sorted(set(steps)) or steps[0] < 1 or steps[-1] > rollout.WHOLE:
        raise DeploymentError(
            f"steps {list(steps)!r}: give rising percents of the traffic, 1 to 100, such as [10, 50, 100], or [10] to"
            " leave it split."
        )
    if list(steps) != [rollout.WHOLE] and not place.splits_traffic:
        raise DeploymentError(f"steps {list(steps)!r}: {place.kind!r} gives all traffic to one model: leave it out.")
    if watch and steps[0] == rollout.WHOLE:
        raise DeploymentError(
            "watch: a version that gets all traffic at once has none beside it to be compared with: give steps, such as"
            " steps=[10, 100]."
        )
