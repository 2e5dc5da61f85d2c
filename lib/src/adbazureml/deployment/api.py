"""What a notebook calls: deploy a model, list what runs, fetch rows to try it with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from adbazureml.deployment import rollout
from adbazureml.deployment.deployable import Deployable
from adbazureml.deployment.endpoint import Endpoint, Endpoints
from adbazureml.deployment.progress_line import progress
from adbazureml.deployment.target import Deadline, Kind, Target
from adbazureml.deployment.target_options import TargetOptions
from adbazureml.deployment.targets import options_of
from adbazureml.errors import DeploymentError, RegistryError
from adbazureml.registry import register
from adbazureml.registry.model_uri import ModelURI, uri_of
from adbazureml.runtime.extras import missing_of, pip_install
from adbazureml.workspaces.install.report import EXTRAS

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import Model

    from adbazureml.workspaces import AzureMLWorkspace


@runtime_checkable
class HasVersions(Protocol):
    """What `register` returns: a model that knows its name and version in each registry."""

    name: str
    azureml_name: str
    databricks: str | None
    azureml: str | None


def deploy(
    model: ModelURI,
    *,
    name: str,
    target: Kind | TargetOptions = "local",
    workspace: AzureMLWorkspace | None = None,
    steps: Sequence[int] = (100,),
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
    model : str or RegisteredVersion
        What `register` returned, or any URI of a model that MLflow resolves: ``models:/name/3``, ``models:/m-…``,
        ``runs:/…/model``. For Azure ML, a version that is registered in Databricks only is registered there too.
    name : str
        Name of the endpoint.
    target : Local, ManagedOnline, Kubernetes, ContainerInstances or ModelServing
        Where it runs, and how: a server on this machine, reachable from it only; an Azure ML managed online endpoint; a
        Kubernetes online endpoint; Azure Container Instances; Databricks Model Serving. With the defaults of its
        options it is named for short: "local", "azureml", "aks", "aci", "databricks".
    workspace : AzureMLWorkspace, optional
        Needed for the Azure targets.
    steps : sequence of int
        Percent of the traffic that a new version gets, one after the other; the last is 100.
    timeout : float, optional
        Seconds in which it has to be done; without, what the target needs.
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
        server's, the service refused, or it is not healthy in time; with the end of its log.

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
    _check_parameters(name, place, steps)
    deployable = _deployable(model, place, workspace)
    _check_model(deployable, accept_slow=accept_slow)
    place.check(name, deployable)
    with progress(f"endpoint {name!r}") as show:
        rollout.RollOut(
            target=place,
            name=name,
            deployment=rollout.deployment_name(deployable, options),
            model=deployable,
            progress=show,
            deadline=Deadline.after(place.timeout if timeout is None else timeout),
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

    example = _find_model(uri_of(model)).load_input_example(uri_of(model))
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


def _check_parameters(name: str, place: Target, steps: Sequence[int]) -> None:
    from pydantic import TypeAdapter, ValidationError

    from adbazureml.settings import EndpointName

    try:
        # Settings take an empty one for a name of their own making.
        TypeAdapter(EndpointName).validate_python(name or "-")
    except ValidationError as error:
        raise DeploymentError(
            f"name {name!r} is wrong: use 3 to 32 lower-case letters, digits and '-', a letter first and no '-' last."
        ) from error
    if not steps or steps[-1] != rollout.WHOLE or list(steps) != sorted(set(steps)) or steps[0] < 1:
        raise DeploymentError(f"steps {list(steps)!r}: give rising percents of the traffic that end with 100.")
    if len(steps) > 1 and not place.splits_traffic:
        raise DeploymentError(f"steps {list(steps)!r}: {place.kind!r} gives all traffic to one model: leave it out.")


def _check_model(model: Deployable, *, accept_slow: bool) -> None:
    if "python_function" not in model.model.flavors:
        flavors = ", ".join(sorted(model.model.flavors)) or "none"
        raise DeploymentError(
            f"The model {model.uri} can't be served: its flavors ({flavors}) have no python_function; log it with a"
            " flavor of MLflow that has, such as mlflow.sklearn or mlflow.pyfunc."
        )
    if model.signature is None:
        raise DeploymentError(
            f"The model {model.uri} has no signature, so that nobody could tell rows that it takes: log it with"
            " signature= or input_example=."
        )
    if model.is_spark and not accept_slow:
        raise DeploymentError(
            f"The model {model.uri} is a Spark ML model: behind an endpoint it answers about 100 times slower than"
            " others (0.5 s a row), needs Java and 1.3 GB of memory. Score tables with score(), serve another model, or"
            " deploy(…, accept_slow=True)."
        )


def _deployable(model: ModelURI, place: Target, workspace: AzureMLWorkspace | None) -> Deployable:
    """The model, with the versions that registries have of it; registered where the target needs it."""
    uri = uri_of(model)
    description = _find_model(uri)
    versions = _versions(model, workspace)
    if place.registry == "azureml" and versions["azureml"] is None:
        if versions["databricks"] is None:
            raise DeploymentError(
                f"model_uri {uri!r} is no registered version, which {place.kind!r} needs: register it."
            )
        assert workspace is not None
        versions["azureml"] = _register(model, versions["databricks"][0], workspace)
    return Deployable(uri=uri, model=description, **versions)


def _versions(model: ModelURI, workspace: AzureMLWorkspace | None) -> dict[str, tuple[str, str] | None]:
    """Name and version in each registry, as far as the caller or the URI tells."""
    import mlflow

    if not isinstance(model, str) and isinstance(model, HasVersions):
        return {
            "databricks": (model.name, model.databricks) if model.databricks else None,
            "azureml": (model.azureml_name, model.azureml) if model.azureml else None,
        }
    scheme, _, path = uri_of(model).partition(":/")
    name, slash, version = path.strip("/").rpartition("/")
    if scheme == "models" and "@" in path:
        name, _, alias = path.strip("/").partition("@")
        version = str(mlflow.MlflowClient().get_model_version_by_alias(name, alias).version)
    elif scheme != "models" or not slash or not version.isdecimal():
        return {"databricks": None, "azureml": None}
    asked = mlflow.get_registry_uri()
    in_azureml = asked.startswith("azureml:") or (workspace is not None and asked == workspace.registry_uri)
    found = (name, version)
    return {"databricks": None if in_azureml else found, "azureml": found if in_azureml else None}


def _register(model: ModelURI, name: str, workspace: AzureMLWorkspace) -> tuple[str, str]:
    """Register in Azure ML what only Databricks has, which brings the run over as well."""
    try:
        # What `register` returned is known to it, and both versions then name each other; it would make another version
        # in Databricks of one that it did not make.
        registry: Any = "both" if isinstance(model, HasVersions) else "azureml"
        made = register(model, name=name, registry=registry, workspace=workspace)
    except RegistryError as error:
        raise DeploymentError(f"The model could not be registered in Azure ML on the way: {error}") from error
    assert made.azureml is not None
    return made.azureml_name, made.azureml


def _find_model(model_uri: str) -> Model:
    """Return the description of a model.

    Raises
    ------
    DeploymentError
        There is no such model.
    """
    import mlflow
    from mlflow.models import Model

    try:
        return Model.load(model_uri)
    except Exception as error:  # each kind of store has errors of its own
        said = (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".")
        raise DeploymentError(
            f"model_uri {model_uri!r} can't be read from {mlflow.get_registry_uri()}: {said}. Check its name and"
            " version, or register it first."
        ) from error
