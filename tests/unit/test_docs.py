"""The README is short; what README and docs name is there: files, headings, commands; and their code compiles."""

import ast
import inspect
import re
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import click
import pytest
from tests.bundle import ROOT
from tools import messages

import adbazureml
from adbazureml import errors
from adbazureml.cli.commands import main

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TARGETS = set(re.findall(r"^([\w.-]+(?: [\w.-]+)*):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
MAKE = {target for line in TARGETS for target in line.split()}
# Outside of blocks of code, which may hold what only looks like a link or a heading.
FENCED = re.compile(r"^```.*?^```$", flags=re.M | re.S)
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def text_of(page):
    return page.read_text(encoding="utf-8")


def slug(heading):
    """The anchor of a heading, as GitHub and the site make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@lru_cache
def anchors(page):
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", FENCED.sub("", text_of(page)), flags=re.M)}


def leads_nowhere(page, link):
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return not target.exists() or bool(anchor and anchor not in anchors(target))


def code_of(page):
    """What is set as code, in a line or as a block."""
    text = text_of(page)
    return "\n".join(
        [*re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.M | re.S), *re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)]
    )


def test_the_readme_is_read_in_two_minutes():
    assert len(text_of(ROOT / "README.md").splitlines()) <= 120


@pages
def test_each_link_leads_to_a_file_and_a_heading_that_are_there(page):
    links = re.findall(r"\]\((?!\w+://)([^)\s]+)\)", FENCED.sub("", text_of(page)))
    assert [link for link in links if leads_nowhere(page, link)] == []


def test_a_link_that_leads_nowhere_is_seen():
    readme = ROOT / "README.md"
    assert leads_nowhere(readme, "docs/none.md")
    assert leads_nowhere(readme, "docs/try.md#none")
    assert not leads_nowhere(readme, "docs/tracking.md#in-sync-out-of-sync")


@pytest.mark.parametrize("page", (ROOT / "docs").glob("*.md"), ids=lambda page: page.stem)
def test_the_site_shows_each_page(page):
    assert re.search(rf"^ +- (?:\w+: )?{page.name}$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.M)


def python_of(page):
    """The syntax tree of each block of Python."""
    blocks = re.findall(r"^```python\n(.*?)^```$", text_of(page), flags=re.M | re.S)
    return [ast.parse(block, page.name) for block in blocks]


@pages
def test_python_compiles_and_calls_what_is_there_as_it_is_there(page):
    nodes = [node for tree in python_of(page) for node in ast.walk(tree)]
    named = {name: getattr(adbazureml, name) for name in adbazureml.__all__}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module.startswith("adbazureml"):
            room = import_module(node.module)
            named |= {one.asname or one.name: getattr(room, one.name) for one in node.names}
    for call in nodes:
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in named:
            given = {argument.arg: None for argument in call.keywords}
            inspect.signature(named[call.func.id]).bind(*call.args, **given)


@pages
def test_names_only_targets_of_make_that_are_there(page):
    assert set(re.findall(r"\bmake ([a-z][\w.-]*)", code_of(page))) <= MAKE


@pages
def test_names_only_commands_and_options_that_are_there(page):
    for line in re.findall(r"(?:^|-m )adbazureml (.+)", code_of(page), flags=re.M):
        command, *rest = line.split()
        if command.startswith("-"):
            assert command in {"--help", "--version"}
            continue
        assert command in main.commands, line
        found = main.commands[command]
        if isinstance(found, click.Group) and rest:
            found = found.commands[rest[0]]
        options = {option for param in found.params for option in param.opts}
        assert {word for word in rest if word.startswith("--")} <= options, line


def test_the_api_page_has_each_name_that_notebooks_import():
    named = re.findall(r"^::: adbazureml\.[\w.]+\.(\w+)$", text_of(ROOT / "docs" / "api.md"), flags=re.M)
    assert set(adbazureml.__all__) - set(named) == {"display"}


@lru_cache
def texts_of_the_wheel():
    """Each text in the wheel's code, with a … for what is filled in."""
    trees = [ast.parse(text_of(path)) for path in Path(adbazureml.__file__).parent.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    filled_in = [
        "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        for node in nodes
        if isinstance(node, ast.JoinedStr)
    ]
    plain = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return "\n".join(re.sub(r"\{[^{}]*\}", "…", text) for text in [*filled_in, *plain])


def error_classes():
    return [
        one.__name__
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, errors.AdbAzureMLError)
    ]


@pytest.mark.parametrize("name", error_classes())
def test_each_error_is_in_the_troubleshooting(name):
    text = text_of(Path(ROOT, "docs", "troubleshooting.md"))
    assert re.search(rf"^## {name}$" if name != "AdbAzureMLError" else name, text, flags=re.M)


def test_every_message_is_listed_by_its_class():
    assert text_of(messages.PAGE) == messages.page(), "run make messages"
    listed = messages.sentences()
    # Said at once, through a table of refusals, and through a function.
    assert "registry …: expected 'both', 'databricks' or 'azureml'." in listed["RegistryError"]
    assert any(one.startswith("resource_group …: subscription … has no such") for one in listed["WorkspaceError"])
    assert any(one.startswith("port … is in use by") for one in listed["DeploymentError"])
    assert sum(len(texts) for texts in listed.values()) > 300


def test_each_message_in_the_troubleshooting_is_one_of_the_code():
    messages = re.findall(r"^\| `([^`]+)` \|", text_of(ROOT / "docs" / "troubleshooting.md"), flags=re.M)
    assert len(messages) > 40
    pieces = {piece.strip(" ,;:.") for message in messages for piece in message.split("…")}
    assert sorted(piece for piece in pieces if piece not in texts_of_the_wheel()) == []
