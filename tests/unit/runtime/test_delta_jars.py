"""Which jars a local session starts with: those that an earlier one fetched, if all are still there."""

import pytest

from adbazureml.runtime import local_spark


@pytest.fixture
def noted(tmp_path, monkeypatch):
    """Two jars, one in a folder with a space, as an earlier session noted them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    jars = [tmp_path / "jars" / "storage.jar", tmp_path / "my jars" / "delta.jar"]
    for jar in jars:
        jar.parent.mkdir()
        jar.touch()
    local_spark._note_jars(",".join(jar.as_uri() for jar in jars))
    return jars


def test_the_noted_ones(noted):
    assert local_spark.delta_jars() == [jar.as_uri() for jar in noted]


def test_none_where_one_is_gone(noted):
    noted[1].unlink()
    assert local_spark.delta_jars() == []


def test_none_where_nothing_was_noted(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert local_spark.delta_jars() == []


def test_a_cache_that_can_t_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    local_spark._note_jars("file:///jars/delta.jar")
    assert local_spark.delta_jars() == []
