"""Roll-outs on Databricks Model Serving that are watched: what it exports for Prometheus decides."""

from datetime import datetime, timezone

import pytest

from adbazureml.errors import DeploymentError

from ..conftest import NAME
from ..live import callers, roll_out

BAD = {"dataframe_records": [{"age": 1.0}]}


def test_a_version_that_fails_callers_gives_way(target, deployables, up, rows):
    up(1)
    with pytest.raises(DeploymentError) as said:
        roll_out(target, NAME, "v2", deployables[2], lambda: callers(target, NAME, [("v1", rows, 40), ("v2", BAD, 12)]))
    sentence = str(said.value).splitlines()[0]
    assert sentence.startswith("Deployment 'v2' gives way at 10 % of the traffic: ")
    assert sentence.endswith("Deployment 'v1' (100 %) goes on serving.")
    state = target.find(NAME)
    assert (state.traffic, [one.name for one in state.deployments]) == ({"v1": 100}, ["v1"])


def test_a_version_that_is_no_worse_goes_on(target, deployables, up, rows, capsys):
    up(1)
    roll_out(target, NAME, "v2", deployables[2], lambda: callers(target, NAME, [("v1", rows, 12), ("v2", rows, 12)]))
    assert target.find(NAME).traffic == {"v2": 100}
    assert "v2 at 10 %: no worse: new 0 of " in capsys.readouterr().out
    for minute in target.live(NAME, datetime.now(timezone.utc))["v2"].values():
        assert minute.within[-1] == (float("inf"), minute.requests)
