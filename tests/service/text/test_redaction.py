"""No secret leaves the process: not in what a command prints, a call raises, a log keeps or a run is tagged with.

Services are sent here that repeat what they were sent, as proxies and wrong hosts do.
"""

import json
import logging
import traceback
import uuid

import click
import mlflow
import pytest
from click.testing import CliRunner
from mlflow.utils.rest_utils import get_workspace_client
from tests.emulators.babbling import BABBLES, Babbling, BabblingHost
from tests.emulators.databricks import TOKEN, Cluster, DatabricksEmulator
from tests.service.tracking.both import eventually

from adbazureml import AzureMLWorkspace, DatabricksWorkspace, errors, runtime, show_workspaces, track
from adbazureml.azure import long_operations, resource_manager
from adbazureml.cli import main
from adbazureml.text import first_line, keep_secret, logger, redact, redacted
from adbazureml.tracking import flush, status

SECRET = "dapi" + "0123456789abcdef" * 2
# Text before, and what is left of it.
TEXTS = {
    "> * Authorization: Bearer abc\n< 403 Forbidden": "> * Authorization: ***\n< 403 Forbidden",
    "{'Authorization': 'Bearer abc', 'x': 1}": "{'Authorization': '***', 'x': 1}",
    '{"client_secret": "hunter2", "a": 1}': '{"client_secret": "***", "a": 1}',
    '"{\\"access_token\\": \\"hunter2\\", \\"a\\": 1}"': '"{\\"access_token\\": \\"***\\", \\"a\\": 1}"',
    "client_secret=abc%2B&grant=x": "client_secret=***&grant=x",
    "Cookie: session=abc; other=def": "Cookie: ***",
    "x-ms-identity-secret: abc": "x-ms-identity-secret: ***",
    "sent Bearer abcdefgh12 to it": "sent *** to it",
    "Basic dXNlcjpwYXNz=": "***",
    "https://blob/x?sv=1&sig=a%2Bb%3D&se=2": "https://blob/x?sv=1&sig=***&se=2",
    "AccountKey=abc==;EndpointSuffix=x": "AccountKey=***;EndpointSuffix=x",
    "https://user:pass@host/path": "https://***@host/path",
    f"{SECRET} and {SECRET}-2.": "*** and ***.",
    "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.abc-def": "***",
    "it said <!DOCTYPE html><html>\n<p>no</p>\n</html> to us": (
        "it said an HTML page, not JSON: a proxy or a wrong host? to us"
    ),
    # What merely looks like one stays.
    "Basic authentication failed; a bearer authentication is needed": None,
    "password: give one, or AZURE_CLIENT_SECRET={{secrets/scope/key}} or token=<token>": None,
    "abfss://container@account.dfs.core.windows.net/x": None,
    "dose_of_the_day, signature='a, b', secret_scope='s'": None,
    "the Authorization header": None,
}


@pytest.mark.parametrize("text", TEXTS)
def test_secrets_are_struck_out_and_nothing_else(text):
    wanted = TEXTS[text] or text
    assert redacted(text) == wanted
    assert redacted(wanted) == wanted


@pytest.mark.parametrize("value", ["plain words", "a+b/c=d&e", 'with "quotes"'])
def test_secrets_of_this_process_are_known_however_they_are_written(monkeypatch, value):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", value)
    from urllib.parse import quote, quote_plus

    for written in (value, quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1]):
        assert redacted(f"you sent {written}!") == "you sent ***!"


def test_a_token_of_a_profile_is_known_too():
    token = uuid.uuid4().hex
    keep_secret(token)
    assert redacted(f"it was {token}") == "it was ***"


def test_what_databricks_sdk_reports_is_one_line():
    report = (
        "unable to parse response. This is likely a bug in the Databricks SDK for Python or the underlying API. Please"
        " report this issue … Request log:```GET /api/2.0/x\n> * Authorization: Bearer abc\n< 502 Bad Gateway\n< no```"
    )
    assert redacted(report) == "answered 502 with something that is not JSON: a proxy or a wrong host?"
    assert first_line(Exception(report)) == redacted(report)


def test_an_error_of_ours_cleans_what_it_was_raised_from():
    def ask():
        answer = mlflow.MlflowException(f"<html>{SECRET}</html>")
        raise answer from KeyError(f"token={SECRET}")

    def fail():
        try:
            ask()
        except mlflow.MlflowException as error:
            raise errors.WorkspaceError(f"refused: {error}") from error

    with pytest.raises(errors.WorkspaceError) as caught:
        fail()
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__.message == "an HTML page, not JSON: a proxy or a wrong host?"


def test_a_circle_of_errors_is_left_again():
    one, other = ValueError(SECRET), ValueError("fine")
    one.__context__, other.__cause__ = other, one
    redact(one)
    assert (str(one), str(other)) == ("***", "fine")


def test_our_logs_are_redacted_with_the_errors_that_they_quote(caplog):
    error = ValueError(SECRET)
    logger("adbazureml.tracking.outbox").warning("Not sent: %s", error, exc_info=error)
    assert "Not sent: ***" in caplog.text
    assert SECRET not in caplog.text


class Heard:
    """Everything that a call let out."""

    def __init__(self, capsys, caplog):
        self._capsys, self._caplog, self._more = capsys, caplog, []

    def add(self, *texts):
        self._more += texts

    def raised(self, error):
        # As a terminal and a notebook show it: with all that it was raised from.
        self.add(*traceback.format_exception(error))

    def assert_without(self, secrets):
        out, err = self._capsys.readouterr()
        text = "\n".join([out, err, self._caplog.text, *self._more])
        assert text.strip()
        # What stands around each that got out.
        found = [
            text[max(text.find(secret) - 300, 0) : text.find(secret) + 100] for secret in secrets if secret in text
        ]
        assert not found, "\n".join(found)


@pytest.fixture
def heard(capsys, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    # Of a service that is not there, one try is enough.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(resource_manager, "_FIRST_PAUSE", 0.0)
    monkeypatch.setitem(long_operations._RETRIES, "retry_total", 0)
    return Heard(capsys, caplog)


@pytest.fixture
def names(azure):
    return (
        *("--workspace-name", azure.workspace_name),
        *("--subscription-id", azure.subscription_id),
        *("--resource-group", azure.resource_group),
    )


@pytest.fixture
def databricks(monkeypatch):
    with DatabricksEmulator() as emulator:
        emulator.clusters["0101-one"] = Cluster(name="one")
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        get_workspace_client.cache_clear()
        yield emulator


# How to call each command, beside the options that name the Azure ML workspace.
AZUREML, EXPERIMENT = "azureml", ("--experiment", "/Users/someone@example.com/there")
COMMANDS = {
    "check": (),
    "doctor": (AZUREML, "--catalog", "main"),
    "import-notebooks": ("--overwrite", "--cluster-id", "0101-one"),
    "create-workspace": (AZUREML,),
    "link show": (AZUREML,),
    "link set": (AZUREML,),
    "link unset": (AZUREML, "--yes"),
    "status": (AZUREML, *EXPERIMENT),
    "catch-up": (AZUREML, *EXPERIMENT),
    "deployment-job": ("main.houses.prices", "--job-id", "7"),
    "clean-up": (AZUREML, *EXPERIMENT, "--delete", "--confirm", EXPERIMENT[1]),
}


def leaves(group, *path):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, *path, name)
        else:
            yield " ".join((*path, name))


def test_every_command_is_tried():
    """One that is new says in `COMMANDS` how it is called."""
    assert sorted(COMMANDS) == sorted(leaves(main))


@pytest.mark.parametrize("where", ["databricks", "arm", "identity", "tracking"])
@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "check"])
def test_a_command_tells_no_secret(command, where, azure, databricks, names, heard, monkeypatch, home):
    monkeypatch.setenv("ADBAZUREML_HOME", str(home))
    arguments = [word for part in COMMANDS[command] for word in (names if part == AZUREML else (part,))]
    before = list(azure._service._routes)
    for kind in BABBLES:
        with BabblingHost(kind) as host:
            if where == "databricks":
                monkeypatch.setenv("DATABRICKS_HOST", host.url)
                get_workspace_client.cache_clear()
            path = {"arm": "/subscriptions", "identity": "/adfs", "tracking": "/mlflow"}.get(where, "/nowhere")
            azure._service._routes = before
            azure._service.put_before([(path, Babbling(kind))])
            if where == "identity":
                azure.expire_tokens()
                monkeypatch.setenv("AZURE_CLIENT_ID", uuid.uuid4().hex)
            done = CliRunner().invoke(main, [*command.split(), *arguments])
        heard.add(done.output)
        if done.exception is not None:
            heard.raised(done.exception)
        assert isinstance(done.exception, (SystemExit, type(None))), done.exception
        assert "Traceback" not in done.output
    heard.assert_without({TOKEN, *azure.secrets})


def _track_and_log(_):
    track(mode="databricks")
    mlflow.set_experiment("/Users/someone@example.com/there")


def _find(_):
    mlflow.set_tracking_uri("databricks")
    from adbazureml import find_run

    find_run("0" * 32)


def _register(_):
    from adbazureml import register

    register("runs:/" + "0" * 32 + "/model", name="main.houses.prices", registry="databricks")


def _deploy(_):
    from adbazureml import deploy

    deploy("models:/main.houses.prices/1", name="prices", target="databricks")


def _endpoints(_):
    from adbazureml.deployment import endpoints

    endpoints(target="databricks")


def _install(_):
    from adbazureml.workspaces.databricks import databricks_sign_in
    from adbazureml.workspaces.install import install_wheel

    install_wheel("/Workspace/x.whl", cluster_id="0101-one", client=databricks_sign_in(), timeout=1)


def _import(_):
    from adbazureml.cli.notebook_import import import_notebooks
    from adbazureml.workspaces.databricks import databricks_sign_in

    import_notebooks(databricks_sign_in())


def _show(host):
    ours = DatabricksWorkspace(name="ours", tracking_uri="databricks", registry_uri="databricks-uc", url=host)
    show_workspaces(ours, None)


@pytest.mark.parametrize("kind", BABBLES)
@pytest.mark.parametrize(
    "call",
    [_track_and_log, _find, _register, _deploy, _endpoints, _install, _import, _show],
    ids=lambda one: one.__name__,
)
def test_a_call_in_a_notebook_tells_no_secret(call, kind, heard, monkeypatch, request):
    token = uuid.uuid4().hex
    with BabblingHost(kind) as host:
        monkeypatch.setenv("DATABRICKS_HOST", host.url)
        monkeypatch.setenv("DATABRICKS_TOKEN", token)
        monkeypatch.setattr(runtime, "on_databricks", lambda: True)
        get_workspace_client.cache_clear()
        request.addfinalizer(lambda: mlflow.set_tracking_uri(None))
        with pytest.raises(Exception) as caught:  # noqa: PT011 - MLflow's own errors and ours
            call(host.url)
    heard.raised(caught.value)
    heard.assert_without({token})


@pytest.mark.parametrize("kind", BABBLES)
def test_a_run_that_could_not_be_replicated_is_tagged_with_no_secret(kind, workspace, heard, monkeypatch):
    token = uuid.uuid4().hex
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
    with BabblingHost(kind) as host:
        there = AzureMLWorkspace(name="there", tracking_uri=host.url, registry_uri=host.url, url=host.url)
        track(there)
        experiment = f"/Users/ada@example.com/{uuid.uuid4().hex[:8]}"
        mlflow.set_experiment(experiment)
        with mlflow.start_run() as run:
            mlflow.log_metric("loss", 0.5)
        eventually(lambda: status(experiment).out_of_sync, 20.0)
        said = status(experiment)
        heard.add(str(said), said._repr_html_())
        flush(0.1)
        track(mode="databricks")
    mine = mlflow.get_run(run.info.run_id)
    assert any(key.startswith("adbazureml.") for key in mine.data.tags), mine.data.tags
    heard.add(*mine.data.tags.values())
    heard.assert_without({token})
