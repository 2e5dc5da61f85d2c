"""What two processes at one run do to each other, step by step: each was found by `test_two_stores`."""

from tests.unit.tracking.two_stores import REFUSED

from adbazureml.tracking import flush, run_tags


def create(world, slot, **options):
    made = []
    world.do(slot, lambda: made.append(world.client.create_run(world.experiment_id, **options)))
    return made[0].info.run_id


def work(world, slot, seconds=20.0):
    world.do(slot, lambda: world.stack[-1].settle(seconds))


def counterparts_of(world, run_id):
    with world.asking():
        return [one for one in world.counterparts() if one.data.tags[run_tags.DATABRICKS_RUN_ID] == run_id]


def test_a_run_that_another_process_writes_to_first_has_one_counterpart(world):
    run_id = create(world, 0)
    world.do(1, lambda: world.client.log_metric(run_id, "loss", 0.5))
    work(world, 1)
    work(world, 0)
    assert len(counterparts_of(world, run_id)) == 1


def test_what_waited_in_one_process_does_not_stay_over_what_another_wrote_later(world):
    run_id = create(world, 0, run_name="first")
    world.do(1, lambda: world.client.set_tag(run_id, "stage", "old"))
    world.do(1, lambda: world.client.update_run(run_id, name="old"))
    world.do(0, lambda: world.client.set_tag(run_id, "stage", "new"))
    world.do(0, lambda: world.client.set_terminated(run_id))
    world.do(0, lambda: world.client.update_run(run_id, name="new"))
    world.do(0, flush)
    world.do(1, flush)
    (counterpart,) = counterparts_of(world, run_id)
    assert (counterpart.data.tags["stage"], counterpart.info.run_name) == ("new", "new")


def test_a_run_whose_name_is_refused_stands_below_its_parent_at_once(world):
    parent_id = create(world, 0, run_name="parent")
    tags = {"mlflow.parentRunId": parent_id, "mlflow.note.content": "about it"}
    run_id = create(world, 0, run_name=REFUSED, tags=tags)
    work(world, 0)
    ((parent,), (counterpart,)) = counterparts_of(world, parent_id), counterparts_of(world, run_id)
    assert counterpart.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert counterpart.data.tags["mlflow.note.content"] == "about it"
