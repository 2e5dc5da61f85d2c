"""Roll-outs on managed online endpoints that are watched: what Azure Monitor tells of the requests decides."""

from datetime import datetime, timedelta, timezone

import pytest

from adbazureml.deployment.targets import Kubernetes
from adbazureml.errors import DeploymentError

from ..live import callers, roll_out

BAD = {"dataframe_records": [{"age": 1.0}]}


@pytest.fixture
def serving(azure, target, served, waits):
    """The endpoint, whose ``m-1`` has all traffic; whatever else comes up there is gone afterwards."""
    target.shift(served, {"m-1": 100}, **waits)
    azure.live_metrics.answered.clear()
    yield served
    target.shift(served, {"m-1": 100}, **waits)
    target.remove(served, "m-2")


def test_a_version_that_fails_callers_gives_way(target, serving, models, payload):
    with pytest.raises(DeploymentError) as said:
        roll_out(
            target,
            serving,
            "m-2",
            models["2"],
            lambda: callers(target, serving, [("m-1", payload, 40), ("m-2", BAD, 12)]),
        )
    sentence = str(said.value).splitlines()[0]
    assert sentence.startswith("Deployment 'm-2' gives way at 10 % of the traffic: ")
    assert "of its requests failed, 0.0% before" in sentence
    assert sentence.endswith("Deployment 'm-1' (100 %) goes on serving.")
    state = target.find(serving)
    assert (state.traffic, [one.name for one in state.deployments]) == ({"m-1": 100}, ["m-1"])


def test_a_version_that_is_no_worse_goes_on(target, serving, models, payload, capsys):
    roll_out(
        target,
        serving,
        "m-2",
        models["2"],
        lambda: callers(target, serving, [("m-1", payload, 12), ("m-2", payload, 12)]),
    )
    assert target.find(serving).traffic == {"m-2": 100}
    assert "m-2 at 10 %: no worse: new 0 of " in capsys.readouterr().out


def test_what_azure_monitor_tells(target, serving, payload):
    begin = datetime.now(timezone.utc)
    callers(target, serving, [("m-1", payload, 3), ("m-1", BAD, 2)])
    minutes = target.live(serving, begin)["m-1"].values()
    assert (sum(one.requests for one in minutes), sum(one.errors for one in minutes)) == (5, 2)
    for one in minutes:
        quantiles, counts = zip(*one.within, strict=True)
        assert list(quantiles) == sorted(quantiles)
        assert list(counts) == pytest.approx([each * one.requests for each in (0.5, 0.9, 0.95, 0.99)])
    assert target.live(serving, begin + timedelta(minutes=5)) == {}


def test_who_may_not_read_the_metrics_is_told_before_anything_is_made(azure, target, serving, models):
    azure.fail_next(1, "Microsoft.Insights", status=403)
    azure.requests.clear()
    with pytest.raises(DeploymentError, match=r"^watch: Azure Monitor does not tell .*the role 'Monitoring Reader'"):
        roll_out(target, serving, "m-2", models["2"], lambda: None)
    assert [one for one in azure.requests if one.method != "GET"] == []


def test_a_cluster_of_ones_own_is_not_watched(azure, connect):
    azure.assets.computes.update(aks="Kubernetes")
    with pytest.raises(DeploymentError, match="watch: target 'aks' does not tell how the requests of each"):
        connect(Kubernetes, compute="aks").live("on-aks", datetime.now(timezone.utc))
