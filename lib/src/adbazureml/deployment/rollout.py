"""Bring a new version up beside the old one, try it, and move the traffic; on any failure the old one serves on."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from adbazureml.deployment.answer_comparison import compare_answers
from adbazureml.deployment.live_comparison import LiveComparison, LiveLimits, Minute, compare_live
from adbazureml.deployment.target import (
    LOG_LINES,
    Deadline,
    DeploymentState,
    EndpointState,
    Progress,
    Target,
    with_log,
)
from adbazureml.errors import DeploymentError

if TYPE_CHECKING:
    from adbazureml.deployment.deployable import Deployable
    from adbazureml.deployment.target_options import TargetOptions

WHOLE = 100
# Services count requests by the minute.
_LOOK_S = 60


class _WorseError(DeploymentError):
    """The new deployment is worse on the requests of callers: it loses what traffic it had before, too."""


def deployment_name(model: Deployable, options: TargetOptions) -> str:
    """Name a deployment by what it serves and how, so that asking for the same again finds it.

    It has 3 to 32 lower-case letters, digits and '-', a letter first, as every target takes it.
    """
    digest = hashlib.sha256(json.dumps([model.fingerprint, *options.as_deployed()]).encode()).hexdigest()[:10]
    version = model.azureml or model.databricks
    return f"v{version[1]}-{digest}" if version and len(version[1]) <= 10 else f"m-{digest}"


@dataclass(frozen=True, kw_only=True)
class RollOut:
    """A new deployment on its way to the traffic of an endpoint."""

    target: Target
    name: str
    deployment: str
    model: Deployable
    progress: Progress
    deadline: Deadline
    watch: LiveLimits | None = None

    def run(self, steps: Sequence[int]) -> None:
        """Do what is not done yet: create, compare, move the traffic, and remove what is older than the one before.

        Where the steps are watched, it gives way to the one before if it is worse on the requests of callers, and stays
        at a step whose requests are too few to tell.

        Parameters
        ----------
        steps : sequence of int
            Percent of the traffic, rising. Where they end before the whole, the traffic stays split, and nothing is
            removed: what `go_back` would need then is there.

        Raises
        ------
        DeploymentError
            With the reason. The traffic is as it was, and the new deployment is gone.
        """
        before = self.target.find(self.name)
        there = before.deployment(self.deployment) if before else None
        if there and there.state == "healthy" and there.traffic == WHOLE:
            return
        old = {name: share for name, share in before.traffic.items() if name != self.deployment} if before else {}
        share = there.traffic if there and there.state == "healthy" else 0
        if old and self.watch:
            # What can't be told, or may not be asked, is said before anything is made.
            self.target.live(self.name, datetime.now(timezone.utc))
        self._fetch()
        with self._putting_back(before) as move:
            self._bring_up()
            for step in steps if old else (WHOLE,):
                if step > share:
                    self.progress(f"moving {step} % of the traffic")
                    move({self.deployment: step, **shared(old, WHOLE - step)})
                    self.compare()
                if self.watch and old and share <= step < WHOLE and not self._is_no_worse(self.watch, step, old):
                    return
        if before and old and steps[-1] == WHOLE:
            self._prune(before, max(old, key=lambda name: old[name]))

    def run_beside(self, before: EndpointState | None) -> None:
        """Bring the deployment up beside what serves, and compare its answers; the traffic stays as it is.

        Parameters
        ----------
        before : EndpointState or None
            What the endpoint is, as its target found it.

        Raises
        ------
        DeploymentError
            With the reason. The new deployment is gone, and so is an endpoint that was not there before.
        """
        self._fetch()
        with self._putting_back(before):
            self._bring_up()

    def compare(self) -> None:
        """Check that the deployment answers the model's input example as the model does."""
        example = self.model.input_example
        if example is None:
            return
        self.progress("comparing its answers with the model's")
        try:
            answered = self.target.score(self.name, example, deployment=self.deployment)
            compare_answers(self.model.uri, answered, self.model.own_answers)
        except DeploymentError as error:
            log = self.target.logs(self.name, self.deployment, LOG_LINES)
            raise with_log(str(error), log, source="the deployment's log") from error

    def _fetch(self) -> None:
        self.progress("fetching the model and resolving its requirements")
        self.model.prepare()

    def _bring_up(self) -> None:
        self.target.create(self.name, self.deployment, self.model, progress=self.progress, deadline=self.deadline)
        self.compare()

    def _shift(self, traffic: Mapping[str, int], deadline: Deadline) -> None:
        self.target.shift(self.name, traffic, progress=self.progress, deadline=deadline)

    def _is_no_worse(self, watch: LiveLimits, step: int, old: Mapping[str, int]) -> bool:
        """Watch the requests of callers for as long as a step is; False where they are too few to tell.

        Raises
        ------
        DeploymentError
            It is worse.
        """
        outcome = self._watched(watch, old)
        print(f"{self.deployment} at {step} %: {outcome}")
        if outcome.verdict == "worse":
            log = self.target.logs(self.name, self.deployment, LOG_LINES)
            what = f"Deployment {self.deployment!r} gives way at {step} % of the traffic: {', '.join(outcome.reasons)}."
            raise _WorseError(str(with_log(what, log, source="the deployment's log")))
        if outcome.verdict == "too few requests":
            warnings.warn(
                f"Deployment {self.deployment!r} stays at {step} % of the traffic: in {watch.seconds:g} s it got"
                f" {outcome.new.requests} requests and what serves beside it {outcome.old.requests}, of"
                f" {watch.requests} that are needed. Deploy it once more to go on, or call rollback().",
                stacklevel=2,
            )
            return False
        return True

    def _watched(self, watch: LiveLimits, old: Mapping[str, int]) -> LiveComparison:
        since = datetime.now(timezone.utc)
        seen: dict[tuple[str, datetime], Minute] = {}
        period = Deadline.after(min(watch.seconds, self.deadline.remaining), clock=self.deadline.clock)
        looks = int(watch.seconds // _LOOK_S) + 2
        outcome = compare_live([], [], watch)
        for waited in period.polls(_LOOK_S):
            told = self.target.live(self.name, since)
            seen |= {(name, minute): one for name, minutes in told.items() for minute, one in minutes.items()}
            new = [one for (name, _), one in seen.items() if name == self.deployment]
            others = [one for (name, _), one in seen.items() if name in old]
            outcome = compare_live(new, others, watch, looks=looks)
            self.progress(f"watching {outcome.new.requests} requests, {waited:.0f} s")
            if outcome.verdict == "worse":
                break
        return outcome

    @contextmanager
    def _putting_back(self, before: EndpointState | None) -> Iterator[Callable[[Mapping[str, int]], None]]:
        """Yield what moves the traffic; where something fails, put things back, and say what serves."""
        moved = False

        def move(traffic: Mapping[str, int]) -> None:
            nonlocal moved
            moved = True
            self._shift(traffic, self.deadline)

        try:
            yield move
        except _WorseError as error:
            raise _with_outcome(error, self._put_back(before, moved=True, without_it=True)) from error
        except DeploymentError as error:
            raise _with_outcome(error, self._put_back(before, moved=moved)) from error
        except BaseException:
            self._put_back(before, moved=moved)
            raise

    def _put_back(self, before: EndpointState | None, *, moved: bool, without_it: bool = False) -> str:
        """Leave the endpoint as it was, or as it would be without the deployment, and say what serves."""
        traffic = before.traffic if before else {}
        if without_it:
            traffic = shared({name: share for name, share in traffic.items() if name != self.deployment}, WHOLE)
        if set(traffic) == {self.deployment}:
            return "No other deployment was serving."
        try:
            if moved and traffic:
                # The time for the roll-out may be over.
                self._shift(traffic, Deadline.after(self.target.timeout))
            if self.deployment not in traffic:
                self.target.remove(self.name, self.deployment)
            now = self.target.find(self.name)
            if before is None and now is not None and not now.deployments:
                self.target.delete(self.name)
        except DeploymentError as error:
            return f"Putting things back failed as well: {str(error).partition(chr(10))[0]}"
        serving = ", ".join(f"{name!r} ({share} %)" for name, share in traffic.items())
        return f"Deployment {serving} goes on serving." if serving else "Nothing is left of it."

    def _prune(self, before: EndpointState, previous: str) -> None:
        """Remove our deployments without traffic that are older than the one which `rollback` goes back to."""
        names = [each.name for each in before.deployments]
        for each in before.deployments[: names.index(previous)]:
            if each.fingerprint and not each.traffic and each.name != self.deployment:
                try:
                    self.target.remove(self.name, each.name)
                except DeploymentError as error:
                    warnings.warn(f"Deployment {each.name!r} could not be removed: {error}", stacklevel=2)


def go_back(target: Target, name: str, *, progress: Progress, deadline: Deadline) -> DeploymentState:
    """Give the whole traffic to the deployment before the one that serves; again goes forth.

    Where a roll-out was left half-way, that is the one whose place it was taking.

    Raises
    ------
    DeploymentError
        There is none to go back to.
    """
    state = target.find(name)
    there = state.deployments if state else ()
    serving = [each for each in there if each.traffic]
    now = max(serving, key=lambda each: each.traffic, default=None)
    others = [each for each in there if each is not now and each.state in ("healthy", "stopped")]
    if now is None or not others:
        raise DeploymentError(f"endpoint {name!r} has no earlier deployment to go back to: deploy a model.")
    earlier = [each for each in others if there.index(each) < there.index(now)]
    if len(serving) > 1:
        chosen = serving[0]
    elif earlier:
        chosen = earlier[-1]
    else:
        chosen = now if now.state == "creating" else others[-1]
    target.shift(name, {chosen.name: WHOLE}, progress=progress, deadline=deadline)
    return chosen


def _with_outcome(error: DeploymentError, said: str) -> DeploymentError:
    """An error that says, before the end of a log, what is left of a roll-out."""
    sentence, newline, log = str(error).partition("\n")
    return DeploymentError(f"{sentence} {said}{newline}{log}")


def shared(shares: Mapping[str, int], total: int) -> dict[str, int]:
    """Scale shares to a total, in whole percent: what rounding leaves goes to the largest."""
    whole = sum(shares.values())
    scaled = {name: share * total // whole for name, share in shares.items()}
    largest = max(scaled, key=lambda name: shares[name], default="")
    if largest:
        scaled[largest] += total - sum(scaled.values())
    return {name: share for name, share in scaled.items() if share}
