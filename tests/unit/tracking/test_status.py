"""How far the replica is behind, as one line and as numbers."""

from adbazureml.tracking import flush, status


def told(world):
    found = []
    world.do(0, lambda: found.append(status(world.experiment)))
    return found[0]


def test_what_waits_is_told_in_runs_items_and_seconds(world):
    made = []
    world.do(0, lambda: made.append(world.client.create_run(world.experiment_id)))
    for step in range(3):
        world.do(0, lambda step=step: world.client.log_metric(made[0].info.run_id, "loss", 0.5, step=step))
    world.clock.advance(42.0)
    behind = told(world)
    assert behind.metrics | {"seconds_behind": 42} == {
        # The name of the run is a tag.
        "runs_behind": 1,
        "items_waiting": 4,
        "seconds_behind": 42,
        "runs_rejected": 0,
    }
    assert 42 <= behind.metrics["seconds_behind"] < 43
    assert "behind by 1 runs, the longest for 42 s; 4 items wait in this process" in str(behind)
    world.do(0, lambda: world.client.set_terminated(made[0].info.run_id))
    world.do(0, flush)
    assert told(world).metrics == dict.fromkeys(behind.metrics, 0)
    assert str(told(world)).startswith("Runs are tracked in both workspaces; 1 of 1 are in sync.\n")


def test_what_is_rejected_is_counted(world):
    made = []
    world.do(0, lambda: made.append(world.client.create_run(world.experiment_id)))
    world.do(0, lambda: world.client.log_param(made[0].info.run_id, "long", "x" * 501))
    world.do(0, lambda: world.client.set_terminated(made[0].info.run_id))
    world.do(0, flush)
    assert told(world).metrics["runs_rejected"] == 1
    assert told(world).out_of_sync == ()
