"""What a place that serves models has to do for the api: the contract that every target keeps.

A target is made from its options, see `target_options`. An endpoint has a name and holds deployments; each is one
model, and traffic is shared among them in percent. The api decides what is made, compared, moved and removed; a target
does it, with the client that its users would use.

What every target does alike:

- A deployment carries its model's URI and its fingerprint where the service keeps tags (`MODEL_TAG` and
  `FINGERPRINT_TAG`), so that another process finds it. One without was not made by this package: it is shown, may
  serve, and is never removed by the api.
- Whatever waits, waits until a `Deadline`, and tells its progress.
- What a service refuses is a `DeploymentError` of one sentence that names the setting and what to do. Where a log tells
  more, `with_log` adds its end. Keys and tokens never appear in either.
- Another operation in progress on the endpoint is waited for, until the deadline.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from adbazureml.deployment.live_comparison import Minute
from adbazureml.deployment.load_test import Caller
from adbazureml.errors import DeploymentError
from adbazureml.runtime.clock import Clock
from adbazureml.settings import DeployTarget
from adbazureml.text import html_table, link

if TYPE_CHECKING:
    from adbazureml.deployment.deployable import Deployable

Kind: TypeAlias = DeployTarget
Auth: TypeAlias = Literal["key", "token", "aad", "none"]
State: TypeAlias = Literal["creating", "healthy", "failed", "stopped", "deleting"]
# Called with a short text, as often as one likes: "building the image, 40 s".
Progress: TypeAlias = Callable[[str], None]

LOG_LINES = 15
MODEL_TAG = "adbazureml-model"
FINGERPRINT_TAG = "adbazureml-fingerprint"


@dataclass(frozen=True, kw_only=True)
class DeploymentState:
    """One model on an endpoint.

    Attributes
    ----------
    name : str
        Name of the deployment.
    model : str
        The model as its tag names it; empty where nothing does.
    fingerprint : str
        What tells it from others, see `Deployable.fingerprint`; empty for one that this package did not make.
    state : {"creating", "healthy", "failed", "stopped", "deleting"}
        As the service says.
    traffic : int
        Share of the endpoint's requests, in percent.
    made : datetime or None
        When, with time zone, where the service tells.
    note : str
        What the service says about the state, such as why it failed.
    """

    name: str
    model: str = ""
    fingerprint: str = ""
    state: State
    traffic: int = 0
    made: datetime | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class EndpointState:
    """An endpoint as the service describes it now.

    Attributes
    ----------
    name : str
        Name of the endpoint.
    kind : str
        Kind of its target.
    url : str
        Where requests are posted; empty until the service gives one.
    auth : {"key", "token", "aad", "none"}
        How callers sign in.
    deployments : tuple of DeploymentState
        What is on it, in the order in which it was made where that is known.
    page : str
        Its page for a browser; empty where there is none.
    """

    name: str
    kind: Kind
    url: str
    auth: Auth
    deployments: tuple[DeploymentState, ...] = ()
    page: str = ""

    @property
    def traffic(self) -> dict[str, int]:
        """Percent by deployment, those that have any."""
        return {each.name: each.traffic for each in self.deployments if each.traffic}

    @property
    def split(self) -> str:
        """A sentence on a traffic that is split, and how that ends; empty while one deployment has it all."""
        if len(self.traffic) < 2:
            return ""
        shares = ", ".join(f"{name} {share} %" for name, share in self.traffic.items())
        return (
            f"The traffic is split ({shares}) until a version is deployed once more, which promotes it, or rollback()"
            " gives it back."
        )

    def deployment(self, name: str) -> DeploymentState | None:
        """The deployment of that name."""
        return next((each for each in self.deployments if each.name == name), None)

    def _repr_html_(self) -> str:
        page = f" ({link(self.page, 'page')})" if self.page else ""
        about = f"<p>endpoint {escape(self.name)}{page} ({self.kind}): {escape(self.url)}, sign-in by {self.auth}</p>"
        titles = ("deployment", "model", "state", "traffic", "made", "note")
        rows = [
            (each.name, each.model, each.state, f"{each.traffic} %", _minute(each.made), each.note)
            for each in self.deployments
        ]
        if not rows:
            return f"{about}<p>It has no deployment.</p>"
        split = f"<p>{escape(self.split)}</p>" if self.split else ""
        return about + split + html_table(rows, titles=titles)

    def __str__(self) -> str:
        lines = [f"endpoint {self.name} ({self.kind}): {self.url}, sign-in by {self.auth}"]
        lines += [f"  {each.name}: {each.model}, {each.state}, {each.traffic} %" for each in self.deployments]
        return "\n".join([*lines, self.split] if self.split else lines)


def _minute(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M %Z}" if moment else ""


class Target(Protocol):
    """Where endpoints are; `TargetOptions.connect` returns it, and asks nobody yet.

    A target's class names this one as its base.

    Attributes
    ----------
    kind : str
        What `deploy` calls it.
    registry : {"azureml", "databricks"} or None
        Registry that the model has to be in; the api registers it there before `check`, as far as it can.
    splits_traffic : bool
        Whether two deployments can share the traffic; otherwise `shift` is asked for 100 percent only.
    timeout : float
        Seconds that a deployment may take where the user says nothing.
    """

    kind: Kind
    registry: Literal["azureml", "databricks"] | None
    splits_traffic: bool
    timeout: float

    def check(self, name: str, model: Deployable) -> None:
        """Raise for what this target will refuse: names, flavours, missing settings. Nothing is created."""

    def find(self, name: str) -> EndpointState | None:
        """Return what the endpoint is now; None when there is none."""

    def create(self, name: str, deployment: str, model: Deployable, *, progress: Progress, deadline: Deadline) -> None:
        """Make the endpoint where it is missing, and a deployment that takes no traffic; wait until it is healthy.

        Idempotent: one that is healthy stays, one that is being made is waited for, one that failed is made anew, so
        that a run that was killed half-way is gone on with.

        Raises
        ------
        DeploymentError
            With the reason (quota, image build, never healthy, …) and the end of the deployment's log.
        """

    def score(self, name: str, payload: Mapping[str, Any], *, deployment: str | None = None) -> Any:
        """Post a request of the scoring protocol and return the predictions.

        Parameters
        ----------
        name : str
            The endpoint.
        payload : mapping
            Whose values JSON takes: ``{"dataframe_split": …}``.
        deployment : str, optional
            Ask this deployment whatever its traffic is; otherwise traffic decides.
        """

    def caller(self, name: str) -> Caller:
        """Return a connection that is signed in as callers of an endpoint are, and the address that they post to."""

    def shift(self, name: str, traffic: Mapping[str, int], *, progress: Progress, deadline: Deadline) -> None:
        """Share the traffic, in percent by deployment; 100 in all. Those not named get none. Wait until it is so.

        A deployment that is stopped is started first. An endpoint that can't split its traffic may stop the others, as
        long as they can be started again.
        """

    def live(self, name: str, since: datetime) -> Mapping[str, Mapping[datetime, Minute]]:  # noqa: ARG002
        """Return the requests of callers as the service counts them, by deployment and the beginning of each minute.

        Parameters
        ----------
        name : str
            The endpoint.
        since : datetime
            Minutes before the one of this moment are left out. A service that knows its last minute only tells that,
            so that who asks puts together what it is told.

        Raises
        ------
        DeploymentError
            The target does not tell: whoever inherits this.
        """
        raise DeploymentError(
            f"watch: target {self.kind!r} does not tell how the requests of each deployment go: leave it out."
        )

    def logs(self, name: str, deployment: str, lines: int) -> str:
        """Return the last lines of a deployment's log; empty where there is none."""

    def remove(self, name: str, deployment: str) -> None:
        """Delete a deployment that has no traffic; one that is gone is no error."""

    def delete(self, name: str) -> None:
        """Delete the endpoint with all that is on it; one that is gone is no error."""

    def list(self) -> list[EndpointState]:
        """Return the endpoints that hold a deployment made by this package, by name."""

    def hold(self, name: str) -> None:  # noqa: ARG002
        """Count this process among those that an endpoint lives for, and take over whether it is kept.

        Only local endpoints live for somebody: another target inherits this and `release`, which do nothing.
        """
        return

    def release(self, name: str) -> None:  # noqa: ARG002
        """Let go of an endpoint: one that is not kept stops with the last process that holds it."""
        return


@dataclass(frozen=True)
class Deadline:
    """The moment until which something may be waited for.

    >>> deadline = Deadline.after(1800)
    >>> for waited in deadline.polls(5):  # doctest: +SKIP
    ...     if is_ready():
    ...         break
    ...     progress(f"waiting, {waited:.0f} s")
    ... else:
    ...     raise deadline.missed("deployment 'm-1' is not healthy")
    """

    at: float
    seconds: float
    clock: Clock = field(default=time, repr=False, compare=False)

    @classmethod
    def after(cls, seconds: float, *, clock: Clock = time) -> Deadline:
        """So many seconds from now, by a clock."""
        return cls(clock.monotonic() + seconds, seconds, clock)

    @property
    def remaining(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self.at - self.clock.monotonic())

    def polls(self, every: float) -> Iterator[float]:
        """Yield the seconds waited so far, at once and then every so many seconds, until the deadline has passed."""
        began = self.clock.monotonic()
        while True:
            yield self.clock.monotonic() - began
            if not self.remaining:
                return
            self.clock.sleep(min(every, self.remaining))

    def missed(self, what: str, *, log: str = "", source: str = "its log") -> DeploymentError:
        """Return the error to raise when time is up, from a sentence such as "deployment 'm-1' is not healthy"."""
        return with_log(f"{what} after {self.seconds:g} s; raise timeout.", log, source=source)


def with_log(sentence: str, log: str, *, source: str) -> DeploymentError:
    """Return an error of one sentence and, where there is a log, its end.

    Parameters
    ----------
    sentence : str
        What happened and what to do.
    log : str
        The log, or its end.
    source : str
        What the log is called, such as "the deployment's log".
    """
    tail = "\n".join(log.strip().splitlines()[-LOG_LINES:])
    return DeploymentError(f"{sentence}\nThe end of {source}:\n{tail}" if tail else sentence)
