"""What a process that tracks a run alone asks of both stores, and what it has to ask all the same."""

from tests.unit.tracking.two_stores import artifacts, broken, counterparts_of, create, history_of, log_two_points, work

from adbazureml.tracking import run_tags, status
from adbazureml.tracking.store_pair import switch_off


def requests(world):
    return world.primary_line.requests, world.replica_line.requests


def test_a_short_run_takes_four_requests_of_each_store(world):
    # The first one makes the experiment.
    world.do(0, lambda: world.client.set_terminated(create(world, 0)))
    work(world, 0)
    run_id = create(world, 0)
    world.do(0, lambda: log_two_points(world, run_id))
    before = requests(world)
    work(world, 0)
    made = tuple(now - then for now, then in zip(requests(world), before, strict=True))
    # A look, what there is of files, another look at the description, and the record; make, write, end, and a look for
    # a duplicate.
    assert made == (4, 4)
    assert history_of(world, run_id) == [0.5, 0.25]
    with world.asking():
        run = world.pair.primary.get_run(run_id)
    (counterpart,) = counterparts_of(world, run_id)
    assert counterpart.data.tags[run_tags.IN_SYNC] == run.data.tags[run_tags.IN_SYNC]
    assert run.data.tags[run_tags.AZUREML_RUN_ID] == counterpart.info.run_id


def test_a_point_that_the_primary_took_without_an_answer_is_brought_over(world):
    run_id = create(world, 0)

    def lose(ask):
        ask()
        raise broken()

    line = world.primary_line
    line.events[line.requests + 1] = lose
    world.do(0, lambda: world.client.log_metric(run_id, "loss", 0.75, step=-1))
    world.do(0, lambda: log_two_points(world, run_id))
    work(world, 0)
    assert history_of(world, run_id) == [0.75, 0.5, 0.25]


def test_what_was_logged_while_nothing_was_replicated_is_brought_over_at_the_end(world):
    run_id = create(world, 0)

    def log_alone():
        world.stack[-1].outbox.close()
        switch_off()
        world.client.log_metric(run_id, "loss", 0.75, step=-1)
        world.pair.switch_on()
        log_two_points(world, run_id)

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
        log_two_points(world, run_id)

    world.do(0, log)
    work(world, 0)
    (counterpart,) = counterparts_of(world, run_id)
    assert artifacts(counterpart.info.artifact_uri) == {"model/MLmodel": b"a model"}


def test_of_two_tags_that_azure_ml_takes_for_one_the_other_is_told_to_be_rejected(world):
    run_id = create(world, 0)
    # While the run goes on, what was written last is there.
    world.do(0, lambda: world.client.set_tag(run_id, "team.prices", "kept"))
    world.do(0, lambda: world.client.set_tag(run_id, "team:prices", "ousted"))
    work(world, 0)
    world.do(0, lambda: world.client.set_terminated(run_id))
    work(world, 0)
    (counterpart,) = counterparts_of(world, run_id)
    assert counterpart.data.tags["team.prices"] == "kept"
    told = []
    world.do(0, lambda: told.append(status(world.experiment)))
    assert told[0].out_of_sync == ()
    with world.asking():
        why = world.pair.primary.get_run(run_id).data.tags[run_tags.REJECTED]
    assert why.startswith("rejected for good: tag team:prices (another tag of the run has the key team.prices")
    assert "rejected for good: tag team:prices" in str(told[0])


def test_points_that_were_forgotten_in_an_outage_come_with_one_that_was_logged_after_it(world):
    run_id = create(world, 0)
    world.do(0, lambda: world.client.log_metric(run_id, "loss", 0.75, step=-1))
    world.replica_line.is_down = True
    # The batch fails; no other try is due so soon.
    world.do(0, lambda: world.stack[-1].settle(6.0))
    assert world.processes[0].outbox.sync_states()[0].aways == 1
    world.do(0, lambda: world.client.set_terminated(run_id))
    world.do(0, lambda: world.client.log_metric(run_id, "loss", 0.5, step=0))
    world.mend()
    work(world, 0)
    assert history_of(world, run_id) == [0.75, 0.5]
