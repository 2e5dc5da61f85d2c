"""The states of a run that is replicated: each transition, and what holds whatever happens in whatever order."""

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import sampled_from

from adbazureml.tracking.run_sync_state import RunSyncState, Work

NOTHING, WRITE, COMPARE, RECONCILE = Work


def state(needs=NOTHING, doing=NOTHING):
    return RunSyncState("1", needs=needs, doing=doing)


def test_of_a_run_that_is_met_nothing_is_known():
    run = RunSyncState("1")
    assert (run.is_own, run.is_known, run.is_idle, run.epoch, run.failures, run.aways) == (False, False, True, 0, 0, 0)


@pytest.mark.parametrize("needs", Work)
def test_changes_are_kept_unless_a_comparison_will_find_them(needs):
    assert state(needs).takes_changes == (needs is not COMPARE)


@pytest.mark.parametrize("required", Work)
@pytest.mark.parametrize("needs", Work)
def test_what_is_required_adds_up(needs, required):
    run = state(needs)
    run.require(required)
    assert run.needs is max(needs, required)


@pytest.mark.parametrize(
    ("needs", "after"), [(NOTHING, COMPARE), (WRITE, COMPARE), (COMPARE, COMPARE), (RECONCILE, RECONCILE)]
)
def test_what_is_forgotten_is_compared(needs, after):
    run = state(needs)
    run.created, run.is_known = object(), True
    run.changes.params["a"] = "1"
    run.forget()
    assert (run.needs, bool(run.changes), run.created, run.is_known) == (after, False, None, False)


@pytest.mark.parametrize("needs", [WRITE, COMPARE, RECONCILE])
def test_a_job_takes_what_is_needed_and_what_waits(needs):
    run = state(needs)
    run.changes.params["a"] = "1"
    work, changes = run.begin()
    assert (work, run.doing, run.needs) == (needs, needs, NOTHING)
    assert changes.params == {"a": "1"}
    assert not run.changes
    assert not run.is_idle


@pytest.mark.parametrize(("needs", "doing"), [(NOTHING, NOTHING), (WRITE, WRITE), (RECONCILE, COMPARE)])
def test_no_job_without_need_nor_beside_another(needs, doing):
    with pytest.raises(RuntimeError, match=f"needs {needs.name}; under way is {doing.name}"):
        state(needs, doing).begin()


@pytest.mark.parametrize("call", ["escalate", "finish", "fail"])
def test_what_is_not_under_way_does_not_end(call):
    with pytest.raises(RuntimeError, match="Nothing is under way"):
        getattr(state(WRITE), call)()


@pytest.mark.parametrize(("doing", "after"), [(WRITE, COMPARE), (COMPARE, COMPARE), (RECONCILE, RECONCILE)])
def test_a_write_without_a_counterpart_becomes_a_comparison(doing, after):
    run = state(doing=doing)
    assert run.may_have_been_seen == (doing >= COMPARE)
    run.escalate()
    assert run.doing is after
    assert run.may_have_been_seen


@pytest.mark.parametrize("needs", Work)
@pytest.mark.parametrize("doing", [WRITE, COMPARE, RECONCILE])
def test_the_end_of_a_job_keeps_what_was_required_meanwhile(doing, needs):
    run = state(needs, doing)
    run.finish()
    assert (run.needs, run.doing) == (needs, NOTHING)
    assert run.is_idle == (needs is NOTHING)


@pytest.mark.parametrize("needs", Work)
@pytest.mark.parametrize("doing", [WRITE, COMPARE, RECONCILE])
def test_what_failed_is_needed_again_by_a_comparison(doing, needs):
    run = state(needs, doing)
    run.changes.params["a"] = "1"
    run.fail()
    assert (run.needs, run.doing) == (max(needs, doing, COMPARE), NOTHING)
    assert not run.changes


class AnyOrder(RuleBasedStateMachine):
    """Every event where it is allowed, beside a plain account of what is written, lost and compared."""

    def __init__(self):
        super().__init__()
        self.run = state()
        self.logged = 0
        # What the counterpart has for certain, and what a job carries.
        self.replica: set[str] = set()
        self.carried: set[str] = set()
        self.at_begin: set[str] = set()
        self.is_end_due = False

    @property
    def primary(self):
        return {str(number) for number in range(self.logged)}

    @rule()
    def log(self):
        if self.run.takes_changes:
            self.run.changes.params[str(self.logged)] = "1"
            self.run.require(WRITE)
        self.logged += 1

    @rule()
    def end(self):
        self.run.require(RECONCILE)
        self.is_end_due = True

    @rule()
    def forget(self):
        self.run.forget()

    @precondition(lambda self: self.run.needs and not self.run.doing)
    @rule()
    def begin(self):
        _, changes = self.run.begin()
        self.carried, self.at_begin = set(changes.params), self.primary
        if self.run.doing is RECONCILE:
            self.is_end_due = False

    @precondition(lambda self: self.run.doing)
    @rule()
    def lose_the_counterpart(self):
        self.replica, self.carried = set(), set()
        self.run.escalate()

    @precondition(lambda self: self.run.doing)
    @rule()
    def finish(self):
        # A comparison may have missed what was logged after its begin.
        self.replica |= self.at_begin if self.run.may_have_been_seen else self.carried
        self.run.finish()

    @precondition(lambda self: self.run.doing)
    @rule(written=sampled_from([0, 1]))
    def fail(self, written):
        self.replica |= set(sorted(self.carried)[:written])
        self.is_end_due = self.is_end_due or self.run.doing is RECONCILE
        self.run.fail()

    @invariant()
    def changes_wait_only_where_they_will_be_written(self):
        assert not self.run.changes or self.run.needs in (WRITE, RECONCILE)

    @invariant()
    def an_end_is_never_lost(self):
        assert not self.is_end_due or RECONCILE in (self.run.needs, self.run.doing)

    @invariant()
    def an_idle_run_is_whole(self):
        if self.run.is_idle:
            assert self.replica == self.primary


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
