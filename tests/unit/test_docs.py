"""The README is short; what README and docs name is there: files, headings, commands; and their code compiles."""

import ast
import inspect
import re
from functools import lru_cache
from importlib import import_module, metadata
from pathlib import Path

import click
import pytest
import yaml
from databricks.bundles.jobs import JobPermission, JobPermissionLevel
from packaging.requirements import Requirement
from tests.bundle import ROOT
from tests.docs import PRINTED, blocks, shell
from tools import messages

import adbazureml
from adbazureml import errors
from adbazureml.cli.commands import main
from adbazureml.validation import Rules, read_rules

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


# Programs that no test has; what they are given is read against what it names, in tests/service/test_set_up.py.
ABSENT = {"az": "the Azure CLI", "gh": "the GitHub CLI"}
# Parsed below or, with the Databricks CLI, in tests/service/test_databricks_cli.py.
PARSED = {"make", "adbazureml", "python", "pip", "databricks", "cd"}
RUN_BY = ("tests/spark/test_docs_code.py", "tests/service/deployment/managed_online/test_docs_code.py")


def test_each_block_of_code_is_run_or_parsed_or_named():
    run = {page for path in RUN_BY for page in re.findall(r'python\("([\w-]+)"\)', text_of(ROOT / path))}
    assert {block.page for block in blocks() if block.language == "python"} == run
    assert {block.language for block in blocks()} == {"", "python", "yaml", "mermaid"}
    assert {words[0] for words in shell()} == PARSED | set(ABSENT)
    assert set(PRINTED) <= {(block.page, block.number) for block in blocks() if block.language == ""}


def test_yaml_is_what_its_reader_takes(tmp_path):
    rules, granted, variables = [block.source for block in blocks() if block.language == "yaml"]
    (tmp_path / "rules.yml").write_text(rules)
    assert set(read_rules(tmp_path / "rules.yml")) == set(Rules.__annotations__)
    [job] = yaml.safe_load(granted)["jobs"].values()
    [permission] = job["permissions"]
    assert JobPermission.from_dict(permission).level == JobPermissionLevel.CAN_MANAGE_RUN
    assert set(yaml.safe_load(variables)) == {"spark_env_vars"}


def test_commands_of_the_package_are_understood_as_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lib" / "dist").mkdir(parents=True)
    (tmp_path / "lib" / "dist" / "adbazureml-*.whl").touch()
    ours = [words[words.index("adbazureml") + 1 :] for words in shell() if words[0] in ("adbazureml", "python")]
    assert len(ours) > 5
    for command, *rest in ours:
        main.commands[command].make_context(command, rest)


def test_pip_is_given_requirements():
    given = [words for words in shell() if words[0] == "pip"]
    assert given
    for _, install, requirement in given:
        assert install == "install"
        name, _, url = requirement.partition(" @ ")
        if url:
            assert Requirement(requirement).extras == {"deploy"}
            assert re.search("subdirectory=(.*)", url)[1] == "lib"
        else:
            assert re.sub(r"\[.*", "", name) == f"lib/dist/adbazureml-{metadata.version('adbazureml')}-py3-none-any.whl"


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
