"""What two processes at one run do to each other, step by step: each was found by `test_two_stores`."""

from mlflow.entities import Dataset, DatasetInput, InputTag
from tests.unit.tracking.two_stores import REFUSED, counterparts_of, create, history_of, log_two_points, work

from adbazureml.tracking import flush


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


def test_a_point_that_another_process_logged_is_brought_over_at_the_end(world):
    run_id = create(world, 0)
    world.do(1, lambda: world.client.log_metric(run_id, "loss", 0.75, step=-1))
    world.end(world.processes[1])
    world.do(0, lambda: log_two_points(world, run_id))
    work(world, 0)
    assert history_of(world, run_id) == [0.75, 0.5, 0.25]


def test_a_dataset_that_two_processes_log_keeps_the_context_that_came_first(world):
    run_id = create(world, 0)
    work(world, 0)

    def log(context):
        tags = [InputTag("mlflow.data.context", context)]
        world.client.log_inputs(run_id, [DatasetInput(Dataset("houses", "1", "local", "{}"), tags)])

    world.do(1, lambda: log("training"))
    world.end(world.processes[1])
    world.do(0, lambda: log("validation"))
    work(world, 0)
    (counterpart,) = counterparts_of(world, run_id)
    assert [tag.value for one in counterpart.inputs.dataset_inputs for tag in one.tags] == ["training"]
