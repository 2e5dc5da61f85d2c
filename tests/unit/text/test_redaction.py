"""The redactor, text by text: what holds a secret is struck out, what only looks a little like one stays."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbazureml.errors import AdbAzureMLError, TableError
from adbazureml.text import first_line, is_page, keep_secret, logger, redact, redacted
from adbazureml.text.redaction import _KEPT, SECRET_VARIABLES

PAT = "dapi" + "0123456789abcdef" * 2
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
PAGE = "<!DOCTYPE html><html><head><title>Proxy</title></head><body>Sign in</body></html>"
ONE_LINE = "an HTML page, not JSON: a proxy or a wrong host?"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"Authorization: Bearer {PAT}", "Authorization: ***"),
        (f"> Authorization: Basic {'QWxhZGRpbjpvcGVu'}\n> Accept: */*", "> Authorization: ***\n> Accept: */*"),
        ("Cookie: session=1; other=2", "Cookie: ***"),
        ("set-cookie: a=b", "set-cookie: ***"),
        ("'x-ms-copy-source-authorization': 'abc def'", "'x-ms-copy-source-authorization': '***'"),
        (f"the token {PAT} was refused", "the token *** was refused"),
        (f"{PAT}-2 is old", "*** is old"),
        ("dkea" + "0" * 32, "***"),
        ("dose" + "f" * 32, "***"),
        (f"got {JWT}.", "got ***"),
        (f"cut {JWT[:30]}", "cut ***"),
        ("https://x.net/c/b?sv=2024&sig=aB%2Fc%3D&se=2026", "https://x.net/c/b?sv=2024&sig=***&se=2026"),
        ("grant_type=x&client_secret=s3cret&scope=y", "grant_type=x&client_secret=***&scope=y"),
        ('{"access_token": "abc", "expires_in": 3}', '{"access_token": "***", "expires_in": 3}'),
        ('{"password":"a\\"b"}', '{"password":"***"}'),
        ("https://user:pass@host/path", "https://***@host/path"),
        ("AccountKey=abc==;EndpointSuffix=core", "AccountKey=***;EndpointSuffix=core"),
        (f"503 {PAGE} end", f"503 {ONE_LINE} end"),
        (f"<HTML>cut off with {PAT}", ONE_LINE),
    ],
)
def test_struck_out(text, clean):
    assert redacted(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "",
        "password: give one",
        "basic authentication is off",
        "the bearer of this",
        "token=<token>",
        "a dapper dapi",
        "models:/name/1",
        "Set DATABRICKS_HOST and DATABRICKS_TOKEN, or a profile.",
        "https://host/path?version=2",
        "<htmlx> is no page",
    ],
)
def test_left_alone(text):
    assert redacted(text) == text


@pytest.mark.parametrize("variable", SECRET_VARIABLES)
def test_the_environments_secrets_in_every_spelling(variable, monkeypatch):
    monkeypatch.setenv(variable, 'p/ss w"rd')
    for spelled in ('p/ss w"rd', "p%2Fss%20w%22rd", "p%2Fss+w%22rd", 'p/ss w\\"rd'):
        assert redacted(f"<{spelled}>") == "<***>"


def test_a_short_value_is_no_secret(monkeypatch):
    monkeypatch.setenv("DATABRICKS_TOKEN", "abc")
    assert redacted("abc") == "abc"
    monkeypatch.setenv("DATABRICKS_TOKEN", "abcd")
    assert redacted("xabcdx") == "x***x"


def test_what_a_process_signs_in_with_is_kept_secret():
    keep_secret("a-value-of-its-own")
    keep_secret(None)
    keep_secret("abc")
    keep_secret("wxyz")
    assert redacted("a-value-of-its-own abc wxyz") == "*** abc ***"


def test_a_secret_that_holds_another_is_struck_out_whole(monkeypatch):
    monkeypatch.setenv("DATABRICKS_TOKEN", "part-of-it")
    keep_secret("part-of-it-and-more")
    assert redacted("part-of-it-and-more") == "***"


def test_as_many_are_kept_as_a_process_holds_at_a_time():
    values = [f"one-of-many-{number}" for number in range(_KEPT + 1)]
    for value in values:
        keep_secret(value)
    assert [redacted(value) for value in values] == [values[0], *["***"] * _KEPT]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (f"< 403 Forbidden\n< {PAGE}", f"answered 403 with {ONE_LINE}"),
        ("< 502 Bad Gateway\n< no", "answered 502 with something that is not JSON: a proxy or a wrong host?"),
        (f"< {PAGE[:40]}", f"answered with {ONE_LINE}"),
    ],
)
@pytest.mark.parametrize("end", ["```", ""])
def test_of_a_request_that_databricks_sdk_quotes_its_answer_is_left(answer, said, end):
    report = (
        f"unable to parse response. This is likely a bug in it. Request log:```GET /api\n> Accept: x\n{answer}{end}"
    )
    assert redacted(report) == said


SECRETS = [PAT, JWT, f"sig={PAT}", PAGE, f'{{"password": "{PAT}"}}', f"Authorization: {PAT}"]


@given(st.text(), st.sampled_from(SECRETS), st.text())
def test_done_twice_it_changes_nothing_more_and_no_token_is_left(before, secret, after):
    once = redacted(f"{before} {secret} {after}")
    assert redacted(once) == once
    assert PAT not in once
    assert JWT not in once


def raise_third():
    try:
        try:
            int(f"first {PAT}")
        except ValueError as error:
            raise KeyError(f"second {PAT}") from error
    except KeyError as error:
        raise TableError(f"third {PAT}: {error}") from error


def test_an_errors_message_and_all_that_it_was_raised_from():
    with pytest.raises(TableError) as raised:
        raise_third()
    chain, error = [], raised.value
    while error is not None:
        chain.append(str(error))
        error = error.__cause__
    assert len(chain) == 3
    assert not any(PAT in text for text in chain)
    assert chain[0].startswith("third ***")
    assert isinstance(raised.value, AdbAzureMLError)


@pytest.mark.parametrize("secret", [PAT, "!before-all-letters"])
def test_an_error_whose_cause_was_given_and_not_raised(secret):
    keep_secret(secret)
    error = TableError("nothing", secret)
    error.message, error.__cause__ = f"{secret}!", ValueError(secret)
    redact(error)
    assert (error.args, error.message, str(error.__cause__)) == (("nothing", "***"), "***!", "***")


def test_an_error_that_makes_its_text_when_it_is_shown():
    class LateError(Exception):
        def __init__(self, response):
            super().__init__()
            self.response = [response]

        def __str__(self):
            return f"answered {self.response[0]}"

    error = LateError(PAT)
    error.__notes__ = [f"note {PAT}"]
    error.message, error.reason = f"said {PAT}", "nothing"
    redact(error)
    assert str(error) == "answered ***"
    assert (error.message, error.reason) == ("said ***", "nothing")
    # It stays what its own code reads.
    assert error.response == [PAT]
    assert type(error).__name__ == "LateError"
    assert error.__notes__ == ["note ***"]
    redact(None)


def test_our_loggers_redact_message_arguments_and_error(caplog):
    with caplog.at_level(logging.WARNING, "adbazureml.redaction_test"):
        try:
            int(PAT)
        except ValueError:
            logger("adbazureml.redaction_test").warning("met %s", PAT, exc_info=True)
    assert "met ***" in caplog.text
    assert PAT not in caplog.text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError(f"\n  one {PAT}.\ntwo"), "one ***"),
        (ValueError(), "ValueError"),
        ("only text.", "only text"),
    ],
)
def test_the_first_line_that_says_something(error, said):
    assert first_line(error) == said


def test_a_page_is_told_from_text():
    assert is_page(PAGE)
    assert not is_page('{"html": 1}')
