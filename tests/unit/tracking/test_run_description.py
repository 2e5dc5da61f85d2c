"""A run's description leads to its counterpart, and what people wrote of a run stays."""

import pytest
from tests.unit.tracking.test_two_processes import counterparts_of, create, work

from adbazureml.tracking import flush
from adbazureml.tracking.run_description import NOTE, linked_description, without_link

PAGE = "https://ml.azure.com/runs/a?wsid=/subscriptions/s/resourcegroups/my(rg)/workspaces/w"


@pytest.mark.parametrize("written", ["", "No drift.", "# Mine\n\n- with [a link](https://example.com)\n"])
def test_a_link_is_added_once_and_leaves_what_was_written(written):
    said = f"{written}\n\n" if written else ""
    linked = linked_description({NOTE: written}, "Azure ML", PAGE)
    assert linked == {NOTE: f"{said}[This run in Azure ML]({PAGE.replace('(rg)', '%28rg%29')})"}
    assert linked_description(linked, "Azure ML", PAGE) == {}
    assert without_link(linked[NOTE]) == written
    # Of another counterpart, or brought over by mistake.
    assert linked_description(linked, "Databricks", "https://adb/1") == {
        NOTE: f"{said}[This run in Databricks](https://adb/1)"
    }


def test_what_has_no_room_for_a_link_stays_as_it_is():
    assert linked_description({NOTE: "n" * 1000}, "Azure ML", PAGE) == {}


def pages(world, run_id):
    """Links to a run and to its counterpart, as a description ends in them."""
    with world.asking():
        run = world.client.get_run(run_id)
    (there,) = counterparts_of(world, run_id)
    links = (
        f"[This run in Azure ML]({world.pair.replica_url(there)})",
        f"[This run in Databricks]({world.pair.primary_url(run)})",
    )
    return (run.data.tags[NOTE], there.data.tags[NOTE]), links


def test_both_lead_to_each_other_and_a_later_description_is_brought_over(world):
    run_id = create(world, 0)
    world.do(0, lambda: world.client.set_terminated(run_id))
    world.do(0, flush)
    found, links = pages(world, run_id)
    assert found == links
    world.do(1, lambda: world.client.set_tag(run_id, NOTE, "Mine."))
    world.do(1, flush)
    found, links = pages(world, run_id)
    assert found == tuple(f"Mine.\n\n{link}" for link in links)


def test_what_somebody_writes_while_a_run_is_brought_over_stays(world):
    run_id = create(world, 0)
    work(world, 0)
    world.do(0, lambda: world.client.set_terminated(run_id))
    said = []

    def described(call):
        said.append(f"Text {len(said)}")
        with world.asking():
            world.client.set_tag(run_id, NOTE, said[-1])
        return call()

    line = world.replica_line
    line.events |= {line.requests + ahead: described for ahead in range(1, 100)}
    world.do(0, flush)
    world.mend()
    (written, _), (link, _) = pages(world, run_id)
    assert len(said) > 1
    assert written == f"{said[-1]}\n\n{link}"
