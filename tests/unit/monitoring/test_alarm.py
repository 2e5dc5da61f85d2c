"""When drift raises the alarm: N of the last M reports, and silence without news."""

import pytest

from adbazureml.errors import DriftError, SettingsError
from adbazureml.monitoring.alarm import PastReport, alarm_of


def reports(drifted):
    """From the oldest, a letter each: D drift, . none, = nothing new; given as the newest first."""
    found, rows = [], 100
    for letter in drifted:
        rows += letter != "="
        found.append(PastReport(rows=rows, drifted=found[-1].drifted if letter == "=" else letter == "D"))
    return found[::-1]


@pytest.mark.parametrize(
    ("history", "needed", "of", "raised"),
    [
        ("D", 1, 1, True),
        (".", 1, 1, False),
        ("D.", 1, 2, False),
        ("D", 2, 3, False),
        ("DD", 2, 3, True),
        ("D.D", 2, 3, True),
        ("D..D", 2, 3, False),
        ("DD.", 2, 3, False),
        ("DDD", 3, 3, True),
        # Told once: the same rows again are no news, and count for nothing.
        ("D=", 1, 1, False),
        ("D==D", 2, 2, True),
        ("D=.D", 2, 2, False),
        ("D===", 2, 3, False),
    ],
)
def test_so_many_of_the_last_reports(history, needed, of, raised):
    assert alarm_of(reports(history), needed=needed, of=of, found="x drifted.").raised is raised


def test_what_is_said_and_a_task_that_fails():
    alarm = alarm_of(reports("D.D"), needed=2, of=3, found="1 of 2 columns drifted: x.")
    assert alarm.state == "raised"
    assert str(alarm) == (
        "Alarm: 2 of the last 3 reports found drift, 2 of 3 raise the alarm. 1 of 2 columns drifted: x."
    )
    with pytest.raises(DriftError, match="2 of the last 3 reports found drift"):
        alarm.check()
    silent = alarm_of(reports("DD="), needed=2, of=3, found="")
    silent.check()
    assert (silent.state, str(silent)) == ("silent", "No alarm: no new row since the last report.")
    assert not alarm_of([PastReport(rows=0, drifted=False)], needed=1, of=1, found="").raised


def test_as_many_rows_with_other_figures_are_news():
    yesterday = PastReport(rows=100, drifted=False, psi={"drift_psi/x": 0.01, "drift_psi/y": 0.02})
    today = PastReport(rows=100, drifted=True, psi={"drift_psi/x": 0.4, "drift_psi/y": 0.02})
    alarm = alarm_of([today, yesterday], needed=1, of=1, found="x drifted.")
    assert str(alarm) == "Alarm: this report found drift. x drifted."
    assert not alarm_of([today, today, yesterday], needed=1, of=1, found="").raised
    assert str(alarm_of([yesterday, today], needed=1, of=1, found="")) == "No alarm: this report found no drift."


@pytest.mark.parametrize(("needed", "of"), [(0, 1), (2, 1)])
def test_a_rule_that_is_none_is_named(needed, of):
    with pytest.raises(SettingsError, match=f"alarm_reports: {needed} of the last {of}"):
        alarm_of(reports("D"), needed=needed, of=of, found="")
