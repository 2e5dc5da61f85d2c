"""Managed online endpoints whose deployments and endpoints are given in full, as azure-ai-ml describes them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from adbazureml.deployment.target import Deadline, Progress, with_log
from adbazureml.deployment.targets.managed_online.endpoints import OnlineEndpoints, state_of
from adbazureml.deployment.targets.managed_online.errors import explaining_errors
from adbazureml.errors import DeploymentError

if TYPE_CHECKING:
    from azure.ai.ml.entities import OnlineDeployment, OnlineEndpoint

    from adbazureml.deployment.deployable import Deployable


@dataclass(frozen=True, eq=False)
class ConfiguredEndpoints(OnlineEndpoints):
    """As `OnlineEndpoints`, but for what a deployment is made with.

    Attributes
    ----------
    configured : OnlineDeployment or None
        What a new deployment has beside its model, code and environment.
    """

    configured: OnlineDeployment | None = None

    def find_endpoint(self, name: str) -> OnlineEndpoint | None:
        """Return an endpoint as azure-ai-ml describes it; None when there is none."""
        with explaining_errors(f"endpoint {name!r}"):
            return self._endpoint(name)

    def find_deployment(self, name: str, deployment: str) -> OnlineDeployment | None:
        """Return a deployment as azure-ai-ml describes it; None when there is none, or no such endpoint."""
        with explaining_errors(f"deployment {deployment!r} of endpoint {name!r}"):
            return self._deployment(name, deployment)

    def put_endpoint(self, endpoint: OnlineEndpoint, *, progress: Progress, deadline: Deadline) -> None:
        """Make an endpoint, or change one that is there, and wait until it is so.

        Raises
        ------
        DeploymentError
            Azure ML refused, or it is not done in time.
        """
        begin = partial(self._client.online_endpoints.begin_create_or_update, endpoint)
        name = str(endpoint.name)
        with explaining_errors(f"endpoint {name!r}"):
            self._put(
                lambda: self._carry_out(begin, f"endpoint {name}", progress, deadline),
                lambda: self._endpoint(name),
                f"endpoint {name!r}",
                deadline,
            )

    def update_deployment(
        self, name: str, deployment: str, model: Deployable | None, *, progress: Progress, deadline: Deadline
    ) -> None:
        """Change a deployment in place to what is configured, and wait until it is healthy.

        Parameters
        ----------
        model : Deployable or None
            Another model; None keeps the one that it has, with its code and environment.

        Raises
        ------
        DeploymentError
            Azure ML refused, or it is not healthy in time; with the end of its log.
        """
        what = f"deployment {deployment!r} of endpoint {name!r}"

        def begin() -> bool:
            if model is not None:
                return self._begin_deployment(name, deployment, model, progress, deadline)
            put = partial(self._client.online_deployments.begin_create_or_update, self.configured)
            return self._carry_out(put, f"updating deployment {deployment}", progress, deadline)

        try:
            with explaining_errors(what):
                self._put(begin, lambda: self._deployment(name, deployment), what, deadline)
        except DeploymentError as error:
            raise with_log(str(error), self._log_if_any(name, deployment), source="the deployment's log") from None

    def _put(
        self,
        begin: Callable[[], bool],
        find: Callable[[], OnlineEndpoint | OnlineDeployment | None],
        what: str,
        deadline: Deadline,
    ) -> None:
        """Begin as soon as no other operation is under way, and look until it has ended."""
        began = False
        for _ in deadline.polls(self.options.poll):
            began = began or begin()
            found = find() if began else None
            if found is not None and (state := state_of(found)) != "creating":
                if state != "healthy":
                    raise DeploymentError(f"{what[:1].upper()}{what[1:]} is {state} after the change.")
                return
        raise deadline.missed(f"{what} is not changed")

    def _new_deployment(self, **properties: Any) -> OnlineDeployment:
        assert self.configured is not None
        made = copy.copy(self.configured)
        for name in ("name", "endpoint_name", "model", "environment", "code_configuration"):
            setattr(made, name, properties[name])
        made.environment_variables = {**properties["environment_variables"], **(made.environment_variables or {})}
        made.tags = {**(made.tags or {}), **properties["tags"]}
        made.request_settings = made.request_settings or properties["request_settings"]
        return made
