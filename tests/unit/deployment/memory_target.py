"""A target in memory that splits traffic and fails on demand: what the front does with a target, in milliseconds.

The real targets are tested against emulated services, with the real clients.
"""

from dataclasses import replace

from adbazureml.deployment.target import DeploymentState, EndpointState, Target
from adbazureml.errors import DeploymentError


class MemoryTarget(Target):
    kind = "azureml"
    registry = None
    splits_traffic = True
    timeout = 5.0

    def __init__(self):
        self.endpoints = {}
        self.history = []
        self.fail = {}
        self.told = {}

    def _do(self, what, *details):
        self.history.append((what, *details))
        if (error := self.fail.get((what, *details)) or self.fail.get(what)) is not None:
            raise error

    def _change(self, name, deployment, **values):
        state = self.endpoints[name]
        changed = [replace(each, **values) if each.name == deployment else each for each in state.deployments]
        self.endpoints[name] = replace(state, deployments=tuple(changed))

    def check(self, name, model):
        self._do("check")

    def find(self, name):
        return self.endpoints.get(name)

    def create(self, name, deployment, model, *, progress, deadline):
        state = self.endpoints.setdefault(name, EndpointState(name=name, kind="azureml", url="https://x", auth="key"))
        if state.deployment(deployment) is None:
            made = DeploymentState(
                name=deployment, model=model.uri, fingerprint=model.fingerprint, state="creating", traffic=0
            )
            self.endpoints[name] = replace(state, deployments=(*state.deployments, made))
        self._do("create", deployment)
        self._change(name, deployment, state="healthy")

    def score(self, name, payload, *, deployment=None):
        self._do("score", deployment)
        return self.answers

    def shift(self, name, traffic, *, progress, deadline):
        assert sum(traffic.values()) == 100
        self._do("shift", tuple(sorted(traffic.items())))
        for each in self.endpoints[name].deployments:
            self._change(name, each.name, traffic=traffic.get(each.name, 0))

    def live(self, name, since):
        self._do("live")
        return {
            deployment: {since.replace(second=0, microsecond=0): minute} for deployment, minute in self.told.items()
        }

    def logs(self, name, deployment, lines):
        return "first line\nlast line of the log"

    def remove(self, name, deployment):
        self._do("remove", deployment)
        state = self.endpoints.get(name)
        if state and (there := state.deployment(deployment)):
            if there.traffic:
                raise DeploymentError(f"{deployment} has traffic")
            self.endpoints[name] = replace(
                state, deployments=tuple(each for each in state.deployments if each.name != deployment)
            )

    def delete(self, name):
        self._do("delete")
        self.endpoints.pop(name, None)

    def list(self):
        return list(self.endpoints.values())
