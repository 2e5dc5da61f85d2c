"""A room of the wheel imports only those below it, and says so; the map of the house names files that are there."""

import ast
import re
from pathlib import Path

import pytest
from importlinter.application.use_cases import lint_imports
from importlinter.configuration import configure
from tests.bundle import ROOT

import adbazureml

LIB = Path(adbazureml.__file__).parent
ROOMS = sorted(path.parent for path in LIB.glob("*/__init__.py"))


def test_a_room_imports_only_those_below_it(capsys):
    # Its own command would configure logging, and so silence the loggers that there are.
    configure()
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None), capsys.readouterr().out


def test_nothing_is_excepted_from_that():
    settings = (ROOT / "pyproject.toml").read_text().partition("[tool.importlinter]")[2]
    assert "exhaustive = true" in settings
    assert "ignore" not in settings
    assert "exclude" not in settings


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_each_room_says_what_it_is_for_what_it_imports_and_where_to_start(room):
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text()))
    assert re.search(r"\bimports? (nothing|all|only|`|\w+'s|what)|may import", text), text
    named = re.search(r"Start reading at `(\w+)`", text.replace("\n", " "))
    assert named, text
    assert (room / f"{named[1]}.py").is_file(), named[1]


def test_the_map_names_files_that_are_there():
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`(\w+(?:/\w+)+(?:\.py|/))`", text))
    inside = {name for name in named if not name.startswith(("lib/", "tests/"))}
    assert len(inside) > 30
    assert [name for name in sorted(inside) if not (LIB / name).exists()] == []
