"""The order in which a new version gets its traffic, and what is left when a step fails."""

from dataclasses import dataclass, replace

import pytest

from adbazureml.deployment.live_comparison import LiveLimits, Minute
from adbazureml.deployment.rollout import RollOut, deployment_name, go_back
from adbazureml.deployment.target import Deadline, DeploymentState, EndpointState, with_log
from adbazureml.deployment.targets import Local, ManagedOnline
from adbazureml.errors import DeploymentError

from .memory_target import MemoryTarget


@dataclass(frozen=True)
class Known:
    """What a roll-out asks of a model."""

    uri: str
    fingerprint: str = "f"
    input_example: dict | None = None
    own_answers: object = None
    azureml: tuple | None = None
    databricks: tuple | None = None

    def prepare(self):
        pass


def known(number):
    return Known(f"models:/m/{number}", str(number), {"inputs": [number]}, [1.5])


@pytest.fixture
def target():
    made = MemoryTarget()
    made.answers = [1.5]
    return made


class Clock:
    """Time passes only where somebody waits."""

    now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def roll_out(target, number, steps=(100,), watch=None):
    RollOut(
        target=target,
        name="end",
        deployment=f"m-{number}",
        model=known(number),
        progress=print,
        deadline=Deadline.after(5, clock=Clock()),
        watch=watch,
    ).run(steps)


def traffic(target):
    return target.endpoints["end"].traffic


def names(target):
    return [each.name for each in target.endpoints["end"].deployments]


def test_first_version_gets_all_at_once_and_again_nothing_happens(target):
    roll_out(target, 1, (10, 100))
    assert target.history == [
        ("create", "m-1"), ("score", "m-1"), ("shift", (("m-1", 100),)), ("score", "m-1"),
    ]  # fmt: skip
    roll_out(target, 1, (10, 100))
    assert len(target.history) == 4


def test_traffic_moves_in_steps_and_the_one_before_stays(target):
    roll_out(target, 1)
    target.history.clear()
    roll_out(target, 2, (10, 50, 100))
    assert [each[1] for each in target.history if each[0] == "shift"] == [
        (("m-1", 90), ("m-2", 10)),
        (("m-1", 50), ("m-2", 50)),
        (("m-2", 100),),
    ]
    assert names(target) == ["m-1", "m-2"]
    roll_out(target, 3)
    assert names(target) == ["m-2", "m-3"]
    assert traffic(target) == {"m-3": 100}


def test_a_canary_stays_until_it_is_deployed_once_more(target):
    for number in (0, 1):
        roll_out(target, number)
    roll_out(target, 2, (10,))
    assert traffic(target) == {"m-1": 90, "m-2": 10}
    # Nothing goes while it is not sure that the canary stays.
    assert names(target) == ["m-0", "m-1", "m-2"]
    said = target.find("end").split
    assert "m-1 90 %, m-2 10 %" in said
    assert said in str(target.find("end"))
    assert said in target.find("end")._repr_html_()
    target.history.clear()
    roll_out(target, 2, (10,))
    assert not [each for each in target.history if each[0] == "shift"]
    roll_out(target, 2)
    assert traffic(target) == {"m-2": 100}
    assert names(target) == ["m-1", "m-2"]
    assert target.find("end").split == ""


def test_one_that_goes_on_loses_none_of_its_traffic(target):
    roll_out(target, 1)
    roll_out(target, 2, (50,))
    target.history.clear()
    roll_out(target, 2, (10, 50, 100))
    assert shifts(target) == [{"m-2": 100}]


def test_a_canary_that_is_rolled_back_leaves_the_one_before(target):
    roll_out(target, 1)
    roll_out(target, 2, (10,))
    assert go_back(target, "end", progress=print, deadline=Deadline.after(1)).name == "m-1"
    assert traffic(target) == {"m-1": 100}


WATCH = LiveLimits(seconds=0.01, requests=50)
SOUND, FAILING = Minute(requests=200, errors=0), Minute(requests=60, errors=60)


def shifts(target):
    return [dict(each[1]) for each in target.history if each[0] == "shift"]


def test_a_version_that_is_no_worse_on_live_requests_goes_on(target, capsys):
    roll_out(target, 1)
    target.history.clear()
    target.told = {"m-1": SOUND, "m-2": SOUND}
    roll_out(target, 2, (10, 50, 100), WATCH)
    assert shifts(target) == [{"m-1": 90, "m-2": 10}, {"m-1": 50, "m-2": 50}, {"m-2": 100}]
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("m-2 at ")]
    assert said == [
        f"m-2 at {step} %: no worse: new 0 of 200 requests failed; before 0 of 200 requests failed" for step in (10, 50)
    ]


def test_a_version_that_is_worse_on_live_requests_gives_way(target):
    roll_out(target, 1)
    target.told = {"m-1": SOUND, "m-2": FAILING}
    with pytest.raises(DeploymentError) as said:
        roll_out(target, 2, (10, 50, 100), WATCH)
    sentence, *log = str(said.value).splitlines()
    assert sentence.startswith("Deployment 'm-2' gives way at 10 % of the traffic: 100.0% of its requests failed, 0.0%")
    assert sentence.endswith("Deployment 'm-1' (100 %) goes on serving.")
    assert log[-1] == "last line of the log"
    assert shifts(target)[1:] == [{"m-1": 90, "m-2": 10}, {"m-1": 100}]
    assert names(target) == ["m-1"]


def test_too_few_requests_leave_it_at_its_step_until_it_is_deployed_once_more(target):
    roll_out(target, 1)
    target.told = {"m-1": SOUND, "m-2": Minute(requests=5, errors=0)}
    with pytest.warns(
        UserWarning, match=r"'m-2' stays at 10 % of the traffic: in 0.01 s it got 5 requests and .* 200, of"
    ):
        roll_out(target, 2, (10, 50, 100), WATCH)
    assert traffic(target) == {"m-1": 90, "m-2": 10}
    target.told["m-2"] = SOUND
    target.history.clear()
    roll_out(target, 2, (10, 50, 100), WATCH)
    assert shifts(target) == [{"m-1": 50, "m-2": 50}, {"m-2": 100}]


def test_a_canary_that_turns_out_worse_loses_what_traffic_it_had(target):
    roll_out(target, 1)
    roll_out(target, 2, (10,))
    target.told = {"m-1": SOUND, "m-2": FAILING}
    with pytest.raises(DeploymentError, match=r"gives way at 10 %.*'m-1' \(100 %\) goes on serving"):
        roll_out(target, 2, (10, 100), WATCH)
    assert traffic(target) == {"m-1": 100}
    assert names(target) == ["m-1"]


def test_what_is_told_again_counts_once_and_what_others_get_not_at_all(target, capsys):
    roll_out(target, 1)
    target.told = {"m-1": SOUND, "m-2": SOUND, "m-0": FAILING}
    roll_out(target, 2, (10,), LiveLimits(seconds=0.01, requests=200))
    assert len([each for each in target.history if each == ("live",)]) > 2
    assert "new 0 of 200 requests failed; before 0 of 200" in capsys.readouterr().out


def test_where_live_requests_are_not_told_nothing_is_made(target):
    roll_out(target, 1)
    target.history.clear()
    target.fail = {"live": DeploymentError("not told.")}
    with pytest.raises(DeploymentError, match=r"^not told\.$"):
        roll_out(target, 2, (10, 100), WATCH)
    assert target.history == [("live",)]


def test_the_first_version_has_none_beside_it_and_is_not_watched(target):
    roll_out(target, 1, (10, 100), WATCH)
    assert ("live",) not in target.history


def beside(target, number):
    new = RollOut(
        target=target,
        name="end",
        deployment=f"m-{number}",
        model=known(number),
        progress=print,
        deadline=Deadline.after(5),
    )
    new.run_beside(target.find("end"))


def test_beside_what_serves_it_gets_no_traffic_and_nothing_older_goes(target):
    for number in (0, 1):
        roll_out(target, number)
    beside(target, 2)
    assert traffic(target) == {"m-1": 100}
    assert names(target) == ["m-0", "m-1", "m-2"]
    target.fail = {("score", "m-3"): DeploymentError("no answer.")}
    with pytest.raises(DeploymentError, match=r"no answer. Deployment 'm-1' \(100 %\) goes on serving."):
        beside(target, 3)
    assert names(target) == ["m-0", "m-1", "m-2"]


@pytest.mark.parametrize(
    "failure",
    [
        "create",
        ("score", "m-2"),
        ("shift", (("m-1", 90), ("m-2", 10))),
        ("shift", (("m-2", 100),)),
    ],
)
def test_whatever_fails_leaves_the_old_one_serving_and_says_why(target, failure):
    roll_out(target, 1)
    target.fail = {failure: with_log("quota exceeded.", "a\nlast line", source="the log")}
    with pytest.raises(DeploymentError) as caught:
        roll_out(target, 2, (10, 100))
    sentence, *log = str(caught.value).splitlines()
    assert sentence == "quota exceeded. Deployment 'm-1' (100 %) goes on serving."
    assert "last line" in log[-1]
    assert traffic(target) == {"m-1": 100}
    assert names(target) == ["m-1"]


def test_wrong_answers_get_no_traffic(target):
    roll_out(target, 1)
    target.history.clear()
    target.answers = [1.6]
    with pytest.raises(DeploymentError, match=r"1 of 1 rows differ.*endpoint 1.6, model 1.5.*'m-1' \(100 %\) goes on"):
        roll_out(target, 2)
    assert traffic(target) == {"m-1": 100}
    # Nor is the traffic touched to put back what never moved.
    assert shifts(target) == []


def test_first_version_that_fails_leaves_nothing(target):
    target.fail = {"create": DeploymentError("image build failed.")}
    with pytest.raises(DeploymentError, match=r"image build failed. Nothing is left of it."):
        roll_out(target, 1)
    assert target.endpoints == {}


def test_putting_back_fails_too_and_both_are_said(target):
    roll_out(target, 1)
    target.fail = {
        ("shift", (("m-2", 100),)): DeploymentError("time is up."),
        ("shift", (("m-1", 100),)): DeploymentError("the service is away."),
    }
    with pytest.raises(DeploymentError, match=r"time is up. Putting things back failed as well: the service is away."):
        roll_out(target, 2)


def test_interrupted_puts_back_and_passes_on(target):
    roll_out(target, 1)
    target.fail = {("shift", (("m-2", 100),)): KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        roll_out(target, 2, (10, 100))
    assert traffic(target) == {"m-1": 100}


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    ("killed_at", "shifts_then"),
    [
        ("create", [(("m-1", 90), ("m-2", 10)), (("m-1", 50), ("m-2", 50)), (("m-2", 100),)]),
        (("shift", (("m-1", 50), ("m-2", 50))), [(("m-1", 50), ("m-2", 50)), (("m-2", 100),)]),
    ],
)
def test_killed_half_way_and_run_again_goes_on(target, monkeypatch, killed_at, shifts_then):
    roll_out(target, 1)
    target.fail = {killed_at: Killed()}
    with monkeypatch.context() as patch:
        # A killed process puts nothing back.
        patch.setattr(RollOut, "_put_back", lambda *_, **__: "")
        with pytest.raises(Killed):
            roll_out(target, 2, (10, 50, 100))
    target.fail, target.history = {}, []
    roll_out(target, 2, (10, 50, 100))
    assert [each[1] for each in target.history if each[0] == "shift"] == shifts_then
    assert names(target) == ["m-1", "m-2"]


def test_a_version_that_comes_up_meanwhile_is_not_removed(target):
    """Two at once: the slower one takes the traffic in the end, and neither removes the other."""
    roll_out(target, 0)
    roll_out(target, 1)
    other = DeploymentState(name="m-9", model="models:/m/9", fingerprint="9", state="healthy")
    state = target.endpoints["end"]
    target.endpoints["end"] = EndpointState(
        name="end", kind="azureml", url="", auth="key", deployments=(*state.deployments, other)
    )
    roll_out(target, 2)
    assert names(target) == ["m-1", "m-9", "m-2"]
    roll_out(target, 9)
    assert traffic(target) == {"m-9": 100}
    assert "m-2" in names(target)


def test_deployments_of_others_are_never_removed(target):
    foreign = DeploymentState(name="blue", state="healthy", traffic=0)
    target.endpoints["end"] = EndpointState(name="end", kind="azureml", url="", auth="key", deployments=(foreign,))
    for number in (1, 2, 3):
        roll_out(target, number)
    assert names(target) == ["blue", "m-2", "m-3"]


def test_three_ways_of_traffic_are_scaled(target):
    roll_out(target, 1)
    roll_out(target, 2)
    target.shift("end", {"m-1": 33, "m-2": 67}, progress=print, deadline=Deadline.after(1))
    roll_out(target, 3, (50, 100))
    assert ("shift", (("m-1", 16), ("m-2", 34), ("m-3", 50))) in target.history


def test_go_back_and_forth(target):
    def back():
        return go_back(target, "end", progress=print, deadline=Deadline.after(1)).name

    with pytest.raises(DeploymentError, match="no earlier deployment to go back to"):
        back()
    roll_out(target, 1)
    with pytest.raises(DeploymentError, match="no earlier deployment"):
        back()
    roll_out(target, 2)
    assert back() == "m-1"
    assert traffic(target) == {"m-1": 100}
    assert back() == "m-2"


@pytest.mark.parametrize("share", [10, 90])
def test_going_back_from_a_roll_out_left_half_way_gives_the_old_one_all(target, share):
    for number in (0, 1, 2):
        roll_out(target, number)
    target.shift("end", {"m-1": 100 - share, "m-2": share}, progress=print, deadline=Deadline.after(1))
    assert go_back(target, "end", progress=print, deadline=Deadline.after(1)).name == "m-1"
    assert traffic(target) == {"m-1": 100}


def test_one_that_serves_no_more_is_made_anew_with_its_traffic(target):
    roll_out(target, 1)
    state = target.endpoints["end"]
    target.endpoints["end"] = replace(state, deployments=(replace(state.deployments[0], state="failed"),))
    target.history.clear()
    roll_out(target, 1)
    assert ("create", "m-1") in target.history
    assert ("shift", (("m-1", 100),)) in target.history


def test_one_that_serves_no_more_and_fails_again_is_not_waited_for_twice(target):
    roll_out(target, 1)
    state = target.endpoints["end"]
    target.endpoints["end"] = replace(state, deployments=(replace(state.deployments[0], state="failed"),))
    target.history.clear()
    target.fail = {("shift", (("m-1", 100),)): DeploymentError("time is up.")}
    with pytest.raises(DeploymentError, match=r"^time is up\. No other deployment was serving\.$"):
        roll_out(target, 1)
    assert [each for each in target.history if each[0] == "shift"] == [("shift", (("m-1", 100),))]
    assert names(target) == ["m-1"]


def test_a_model_without_example_is_not_compared(target):
    RollOut(
        target=target,
        name="end",
        deployment="m-1",
        model=Known("models:/m/1"),
        progress=print,
        deadline=Deadline.after(5),
    ).run((100,))
    assert [each[0] for each in target.history] == ["create", "shift"]


def test_names_of_deployments_tell_what_and_how():
    model, options = Known("models:/m/1", "f", databricks=("m", "12")), ManagedOnline()
    name = deployment_name(model, options)
    assert name == deployment_name(model, ManagedOnline(poll=1, auth="token"))
    assert deployment_name(model, Local()) == deployment_name(model, Local(port=99, keep=True))
    assert name.startswith("v12-")
    assert len(name) <= 32
    others = {
        deployment_name(model, ManagedOnline(instance_type="Standard_F4s_v2")),
        deployment_name(model, ManagedOnline(collect=True)),
        deployment_name(Known("models:/m/1", "g"), options),
    }
    assert len({name, *others}) == 4
