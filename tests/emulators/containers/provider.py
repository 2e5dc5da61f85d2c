"""What resource providers of Azure Resource Manager have in common: who may ask, and which group is meant."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Any

from ..azureml.identity import Identity
from ..azureml.messages import Answer, Call, Problem, Service, json_answer
from ..azureml.workspace import Workspace

Resource = dict[str, Any]


class Provider(Service):
    """One provider's resources in the workspace's resource group.

    Attributes:
        forbidden: whether the caller's role does not let it do anything here.
    """

    namespace: str

    def __init__(self, workspace: Workspace, identity: Identity) -> None:
        self.workspace = workspace
        self.identity = identity
        self.forbidden = False

    @property
    def prefix(self) -> str:
        """Resource id of what the provider holds, without its own part."""
        return f"{self.workspace.resource_group_id}/providers/{self.namespace}"

    @property
    def pattern(self) -> str:
        """The routes of this provider, as a regular expression."""
        return rf"(?i)/subscriptions/[^/]+(?:/resourceGroups/[^/]+)?/providers/{re.escape(self.namespace)}/"

    def answer(self, call: Call) -> Answer:
        self.identity.check(call.headers)
        if "api-version" not in call.query:
            raise Problem(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        if self.forbidden:
            raise Problem(403, "Forbidden", "")
        _, _, subscription, *rest = call.path.split("/")
        if subscription.lower() != self.workspace.subscription_id.lower():
            raise Problem(404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")
        if rest[0].lower() == "resourcegroups" and rest[1].lower() != self.workspace.resource_group.lower():
            raise Problem(404, "ResourceGroupNotFound", f"Resource group '{rest[1]}' could not be found.")
        return self.act(call, re.split(self.pattern, call.path, maxsplit=1)[1])

    @abstractmethod
    def act(self, call: Call, path: str) -> Answer:
        """Do what is asked of ``path``, the part of the route after the provider's name."""

    def refusal(self, problem: Problem) -> Answer:
        code, message = problem.code, problem.message
        if code == "Forbidden":
            code, message = (
                "AuthorizationFailed",
                (
                    f"The client '{self.identity.client_id}' with object id '{self.identity.client_id}' does not have "
                    f"authorization to perform action '{self.namespace}/write' over scope '{self.prefix}' or the scope "
                    "is invalid. If access was recently granted, please refresh your credentials."
                ),
            )
        return json_answer({"error": {"code": code, "message": message}}, problem.status, problem.headers)

    def not_found(self, kind: str, name: str) -> Problem:
        message = (
            f"The Resource '{self.namespace}/{kind}/{name}' under resource group '{self.workspace.resource_group}' was "
            "not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
        )
        return Problem(404, "ResourceNotFound", message)
