"""What the pictures of a drift report show and say, from counts made by hand."""

import math

import pytest
from matplotlib import style

from adbazureml.monitoring import ColumnDrift, DriftReport, Thresholds
from adbazureml.monitoring.column_profile import Binned
from adbazureml.monitoring.drift_pictures import MOST_PICTURES, bars_of
from adbazureml.monitoring.histogram import Histogram


def numbers(*edges):
    return Binned("x", "numeric", tuple(map(float, edges)))


def texts(*names):
    return Binned("x", "categorical", names)


def drift(name, psi=0.0, p=1.0, drifted=False):
    return ColumnDrift(name, "numeric", psi, 0.0, None, None, 0.0, 0.0, p, p, drifted)


def report(*columns, days=()):
    histograms = tuple(Histogram(Binned(one.column, "numeric", (1.0,)), (20, 80, 0), (50, 50, 0)) for one in columns)
    return DriftReport(columns, Thresholds(), 100, 100, days=days, histograms=histograms)


@pytest.mark.parametrize(
    ("binned", "before", "now", "said"),
    [
        (numbers(1, 3), (50, 40, 10, 0), (40, 28, 32, 0), "above 3: 10% → 32%"),
        (numbers(1, 3), (40, 40, 15, 5), (36, 36, 13, 15), "missing: 5% → 15%"),
        (numbers(1, 3), (20, 60, 20, 0), (44, 36, 20, 0), "up to 1: 20% → 44%"),
        (numbers(math.nextafter(3, 0), 3), (20, 60, 20, 0), (20, 30, 50, 0), "above 3: 20% → 50%"),
        (numbers(math.nextafter(3, 0), 3), (20, 60, 20, 0), (45, 10, 45, 0), "= 3: 60% → 10%"),
        (numbers(), (9, 1), (5, 5), "missing: 10% → 50%"),
        (texts("a", "b"), (80, 20, 0, 0), (70, 15, 15, 0), "new values: 0% → 15%"),
        (texts("a", "b"), (70, 20, 10, 0), (40, 20, 40, 0), "other values: 10% → 40%"),
        (texts("a", "b"), (5010, 4990, 0, 0), (4980, 5020, 0, 0), "a: 50.1% → 49.8%"),
        (texts("", "b"), (10, 90, 0, 0), (50, 50, 0, 0), "(empty): 10% → 50%"),
    ],
)
def test_the_bin_that_changed_most_is_named(binned, before, now, said):
    assert Histogram(binned, now, before).finding() == said


def test_a_value_with_a_bin_of_its_own_is_named_by_it():
    assert Histogram(numbers(math.nextafter(3, 0), 3, 8), (0,) * 5, (0,) * 5).labels == (
        "up to 3",
        "= 3",
        "3 to 8",
        "above 8",
        "missing",
    )


def test_days_are_written_as_dates_and_empty_texts_as_empty():
    days = Histogram(Binned("x", "numeric", (20_514.0, 20_520.0), "day"), (0,) * 4, (0,) * 4)
    assert days.labels == ("up to 2026-03-02", "2026-03-02 to 2026-03-08", "above 2026-03-08", "missing")
    lengths = Histogram(Binned("x", "numeric", (0.0, 12.0), "length"), (0,) * 4, (0,) * 4)
    assert lengths.labels[:2] == ("empty", "0 to 12")


def test_of_many_categories_the_largest_and_the_most_changed_are_drawn_and_no_row_is_lost():
    names = [f"k{i:02}" for i in range(30)]
    before, now = [40 - i for i in range(30)], [40 - i for i in range(30)]
    now[29] = 400
    labels, shares = bars_of(Histogram(texts(*names), (*now, 7, 3), (*before, 0, 0)))
    assert labels == ["k00", "k01", "k02", "k03", "k04", "k05", "k06", "k29", "22 more", "new values", "missing"]
    assert shares.sum(axis=1) == pytest.approx([1, 1])


def test_bins_that_both_sides_leave_empty_are_not_drawn():
    labels, _ = bars_of(Histogram(numbers(1, 2), (5, 0, 5, 0), (6, 0, 4, 0)))
    assert labels == ["up to 1", "above 2"]


def test_the_most_changed_comes_first_and_each_title_says_what_was_found():
    """What chance explains comes behind, whatever its index."""
    found = report(drift("calm", psi=3.0), drift("b", 0.2, 1e-9, True), drift("a", 0.4, 1e-9, True))
    figure = found.plot()
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.axison]
    assert titles == ["a: drifted\nup to 1: 50% → 20%", "b: drifted\nup to 1: 50% → 20%", "calm: stable"]
    assert figure.get_suptitle().startswith("2 of 3 columns drifted (100 rows against 100)")
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "new, drifted"


def test_at_most_twenty_columns_are_pictured_and_the_page_lists_all():
    found = report(*(drift(f"c{i}", psi=i) for i in range(25)))
    figure = found.plot()
    assert len([axes for axes in figure.axes if axes.axison]) == MOST_PICTURES
    assert figure.get_suptitle().endswith("5 more columns are in the table")
    page = found.to_html()
    assert page.count("<img ") == 1
    assert all(f"<code>c{i}</code>" in page for i in range(25))
    assert "color-scheme" in page
    assert 'src="http' not in page


def test_days_are_a_heat_map_that_leaves_chance_grey():
    quiet, loud = drift("a", psi=0.3, p=0.4), drift("a", psi=0.3, p=0.001, drifted=True)
    days = tuple(
        DriftReport((column,), Thresholds(), 100, 100, day=day)
        for day, column in [("2026-11-22", quiet), ("2026-11-23", loud)]
    )
    found = report(loud, days=days)
    axes = found.plot_days().axes[0]
    assert axes.images[0].get_array().mask.tolist() == [[True, False]]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[1]]
    assert axes.get_title(loc="left") == "Drift on 1 of 2 days (dots), most on 2026-11-23: 1 column"
    assert found.to_html().count("<img ") == 2


def test_a_dark_style_leaves_the_pictures_readable():
    with style.context("dark_background"):
        figure = report(drift("a")).plot()
    assert figure.get_facecolor() == (1, 1, 1, 1)
    assert figure.axes[0].xaxis.get_ticklabels()[0].get_color() == "black"
