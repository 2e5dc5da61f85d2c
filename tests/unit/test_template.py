"""The template of `databricks bundle init`: what it asks for is what the settings and the bundle call so."""

import fnmatch
import json
import re
from typing import get_args, get_type_hints

import yaml
from pydantic import StringConstraints
from tests.bundle import BUNDLE, ROOT

from adbazureml import settings
from adbazureml.settings import Settings

ASKED = json.loads((ROOT / "databricks_template_schema.json").read_text())["properties"]
TEAM = (ROOT / "resources" / "team.yml.tmpl").read_text()
PREAMBLE = (ROOT / "__preamble.tmpl").read_text()
SKIPPED = re.findall(r'\{\{skip "([^"]+)"\}\}', PREAMBLE)


def test_asks_for_variables_of_the_bundle_and_writes_each():
    assert set(ASKED) <= set(BUNDLE["variables"])
    actions = re.sub(r'"[^"]*"|/\*.*?\*/', "", " ".join(re.findall(r"\{\{.*?\}\}", TEAM)))
    assert set(ASKED) == set(re.findall(r"\.([a-z]\w*)", actions))
    # With something in the place of each answer, it is YAML.
    plain = re.sub(r"\{\{.*?\}\}", "x", re.sub(r"\s*\{\{-.*?\}\}", "", TEAM))
    assert set(yaml.safe_load(plain)["variables"]) <= set(BUNDLE["variables"])
    assert sorted(one["order"] for one in ASKED.values()) == list(range(1, len(ASKED) + 1))


def test_its_answers_unless_given_are_the_settings_own():
    for name in set(ASKED) & set(Settings.model_fields):
        assert ASKED[name]["default"] == Settings.model_fields[name].default, name
    assert ASKED["catalog"]["default"] == BUNDLE["variables"]["catalog"]["default"]
    assert ASKED["schema"]["default"] == BUNDLE["bundle"]["name"]
    assert f'ne .training_table "{settings.SAMPLE_TRAINING}"' in TEAM


def test_it_takes_what_the_settings_take():
    hints = get_type_hints(Settings, include_extras=True)
    assert tuple(ASKED["task"]["enum"]) == get_args(hints["task"])
    [guid] = [one for one in get_args(settings.Guid) if isinstance(one, StringConstraints)]
    assert ASKED["subscription_id"]["pattern"] == guid.pattern
    for table in ("houses", "2026", "main-eu.sales_1.houses-2026"):
        assert re.search(ASKED["training_table"]["pattern"], table)
        Settings(training_table=table)
    for table in ("two words", "a.b", "a.b.c.d", ""):
        assert not re.search(ASKED["training_table"]["pattern"], table)


def test_the_project_itself_is_what_it_writes():
    link = ROOT / "template"
    assert link.is_symlink()
    assert link.resolve() == ROOT.resolve()
    for own in ("template", "__preamble", "databricks_template_schema.json"):
        assert own in SKIPPED
    # What a walk, a build or a test leaves at the top, and Git ignores.
    ignored = (ROOT / ".gitignore").read_text().replace("/", "").split()
    left = [pattern for pattern in ignored if pattern.startswith(".") and pattern != ".ipynb_checkpoints"]
    assert [pattern for pattern in left if not any(fnmatch.fnmatch(pattern, skipped) for skipped in SKIPPED)] == []
    for pattern in SKIPPED:
        assert "/" not in pattern or (ROOT / pattern).parent.is_dir()
