"""A roll-out that is watched, with callers whose requests come while it watches."""

import time
from contextlib import suppress

from adbazureml.deployment.live_comparison import LiveLimits
from adbazureml.deployment.rollout import RollOut
from adbazureml.deployment.target import Deadline
from adbazureml.errors import DeploymentError

WATCH = LiveLimits(seconds=60, requests=10)
STEPS = (10, 100)
LONGEST_SLEEP_S = 0.2


class Hurrying:
    """A clock on which long waits take no time."""

    def __init__(self):
        self.ahead = 0.0

    def monotonic(self):
        return time.monotonic() + self.ahead

    def sleep(self, seconds):
        slept = min(seconds, LONGEST_SLEEP_S)
        time.sleep(slept)
        self.ahead += seconds - slept


def roll_out(target, name, deployment, model, ask):
    """Roll a deployment out in steps; `ask` is called once at its first look."""
    asked = []

    def told(line):
        if line.startswith("watching") and not asked:
            asked.append(line)
            ask()

    RollOut(
        target=target,
        name=name,
        deployment=deployment,
        model=model,
        progress=told,
        deadline=Deadline.after(600, clock=Hurrying()),
        watch=WATCH,
    ).run(STEPS)
    assert asked


def callers(target, name, requests):
    """Send so many requests of a body to each deployment, whatever comes of them."""
    for deployment, body, number in requests:
        for _ in range(number):
            with suppress(DeploymentError):
                target.score(name, body, deployment=deployment)
