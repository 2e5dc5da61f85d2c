from adbazureml.tracking.progress_bar import progress_line


def test_with_a_total_it_says_how_long_it_takes_from_here():
    line = "catch_up: 30 of 120 runs, 4100 items written, 1.5 runs a second, 60 s left"
    assert progress_line(30, 120, 4100, seconds=20.0) == line


def test_without_a_total_it_says_what_is_done_and_how_fast():
    assert progress_line(30, None, 4100, seconds=20.0) == "catch_up: 30 runs, 4100 items written, 1.5 runs a second"


def test_before_the_first_run_is_done_nobody_knows_how_long_it_takes():
    assert progress_line(0, 2, 5000, seconds=10.0) == "catch_up: 0 of 2 runs, 5000 items written, 0.0 runs a second"
