"""What `make run` prints at its end."""

from tests.bundle import ROOT


def test_a_part_of_many_lines_has_its_title_once(monkeypatch):
    """As many as a verdict has, whose metric a user named."""
    # It is a script, which finds its neighbours beside it.
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import walk

    assert walk.titled("drift", "") == ["drift           "]
    assert walk.titled("challengers", "one\ntwo\nthree\nfour")[:2] == ["challengers     one", f"{'':<15} two"]
    assert len(walk.titled("challengers", "one\ntwo\nthree\nfour")) == 4
