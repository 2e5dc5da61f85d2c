"""What two processes at one run do to each other, step by step: each was found by `test_two_stores`."""

from mlflow.entities import Dataset, DatasetInput, InputTag
from tests.unit.tracking.two_stores import REFUSED, artifacts, broken

from adbazureml.tracking import flush, run_tags
from adbazureml.tracking.store_pair import switch_off


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


def requests(world):
    return world.primary_line.requests, world.replica_line.requests


def test_a_short_run_takes_three_requests_of_the_primary_and_four_of_the_replica(world):
    # The first one makes the experiment.
    world.do(0, lambda: world.client.set_terminated(create(world, 0)))
    work(world, 0)
    run_id = create(world, 0)
    world.do(0, lambda: log_both(world, run_id))
    before = requests(world)
    work(world, 0)
    made = tuple(now - then for now, then in zip(requests(world), before, strict=True))
    # A look, what there is of files, and the record; make, write, end, and a look for a duplicate.
    assert made == (3, 4)
    assert history_of(world, run_id) == [0.5, 0.25]
    with world.asking():
        run = world.pair.primary.get_run(run_id)
    (counterpart,) = counterparts_of(world, run_id)
    assert counterpart.data.tags[run_tags.IN_SYNC] == run.data.tags[run_tags.IN_SYNC]
    assert run.data.tags[run_tags.AZUREML_RUN_ID] == counterpart.info.run_id


def log_both(world, run_id):
    world.client.log_metric(run_id, "loss", 0.5, step=0)
    world.client.log_metric(run_id, "loss", 0.25, step=1)
    world.client.log_param(run_id, "depth", 3)
    world.client.set_terminated(run_id)


def history_of(world, run_id):
    (counterpart,) = counterparts_of(world, run_id)
    with world.asking():
        history = world.pair.replica.get_metric_history(counterpart.info.run_id, "loss")
    return [point.value for point in sorted(history, key=lambda point: point.step)]


def test_a_point_that_the_primary_took_without_an_answer_is_brought_over(world):
    run_id = create(world, 0)

    def lose(ask):
        ask()
        raise broken()

    line = world.primary_line
    line.events[line.requests + 1] = lose
    world.do(0, lambda: world.client.log_metric(run_id, "loss", 0.75, step=-1))
    world.do(0, lambda: log_both(world, run_id))
    work(world, 0)
    assert history_of(world, run_id) == [0.75, 0.5, 0.25]


def test_a_point_that_another_process_logged_is_brought_over_at_the_end(world):
    run_id = create(world, 0)
    world.do(1, lambda: world.client.log_metric(run_id, "loss", 0.75, step=-1))
    world.end(world.processes[1])
    world.do(0, lambda: log_both(world, run_id))
    work(world, 0)
    assert history_of(world, run_id) == [0.75, 0.5, 0.25]


def test_what_was_logged_while_nothing_was_replicated_is_brought_over_at_the_end(world):
    run_id = create(world, 0)

    def log_alone():
        world.stack[-1].outbox.close()
        switch_off()
        world.client.log_metric(run_id, "loss", 0.75, step=-1)
        world.pair.switch_on()
        log_both(world, run_id)

    world.do(0, log_alone)
    work(world, 0)
    assert history_of(world, run_id) == [0.75, 0.5, 0.25]


def test_a_model_that_was_finished_in_the_run_is_brought_over_at_the_end(world, tmp_path):
    run_id = create(world, 0)
    (tmp_path / "MLmodel").write_text("a model")

    def log():
        model = world.client.create_logged_model(world.experiment_id, "model", source_run_id=run_id)
        world.client.log_model_artifact(model.model_id, str(tmp_path / "MLmodel"))
        world.client.finalize_logged_model(model.model_id, "READY")
        log_both(world, run_id)

    world.do(0, log)
    work(world, 0)
    (counterpart,) = counterparts_of(world, run_id)
    assert artifacts(counterpart.info.artifact_uri) == {"model/MLmodel": b"a model"}


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
