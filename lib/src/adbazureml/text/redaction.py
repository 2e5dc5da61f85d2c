"""The one redactor: strikes secrets out of the texts of errors and logs, and shortens the pages that they quote.

A service's error may hold anything: databricks-sdk quotes the whole request, with its Authorization header, where an
answer is no JSON; a proxy answers with a page that repeats what it was sent; an address of a blob is signed.
"""

from __future__ import annotations

import json
import logging
import os
import re
from contextlib import suppress
from typing import Any
from urllib.parse import quote, quote_plus

STRUCK = "***"
# What holds a secret, in the environment of a process that works with Databricks, Azure and MLflow.
SECRET_VARIABLES = (
    "ARM_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_CLIENT_SECRET",
    "AZURE_PASSWORD",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "DATABRICKS_CLIENT_SECRET",
    "DATABRICKS_OIDC_TOKEN",
    "DATABRICKS_PASSWORD",
    "DATABRICKS_TOKEN",
    "IDENTITY_HEADER",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MSI_SECRET",
)
# Less would strike out parts of ordinary words.
_SHORTEST = 4
# More than the tokens that one process holds at a time.
_KEPT = 64

_PAGE = re.compile(r"<(?:!doctype\s+html|html)\b.*?(?:</html\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_NO_PAGE = "an HTML page, not JSON: a proxy or a wrong host?"
# What databricks-sdk says of an answer that it can't read: the request, then the answer's status, then its text.
_SDK_REPORT = re.compile(
    r"(?:unable to parse response\. )?This is likely a bug in .{0,300}?Request log:```(.*?)(?:```|\Z)", re.DOTALL
)
_SDK_STATUS = re.compile(r"^\s*< (\d{3})\b.*$", re.MULTILINE)

# A value in quotes, or to where it can't go on. A placeholder, such as <token> or {{secrets/…}}, is none.
_VALUE = r"""(?:"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|(?![<{$*…])[^\s&;,"'<>)\]}]+)"""
_HEADERS = (
    r"(?:proxy-)?authorization|(?:set-)?cookie|x-identity-header|api-key"
    r"|x-ms-[\w-]*(?:token|key|secret|authorization)[\w-]*"
)
_HEADER = re.compile(
    rf"""(?P<name>\b(?:{_HEADERS})\\?["']?\s*[:=]\s*)(?P<value>\\?"[^"\n]*"?|'[^'\n]*'?|[^\s"'][^\n"']*)""",
    re.IGNORECASE,
)
_KEYS = (
    r"client[_-]?secret|client[_-]?assertion|assertion|password|passwd|pwd|(?:access|refresh|id|auth|sas|bearer)[_-]?token"
    r"|token(?:_value)?|api[_-]?key|account[_-]?key|shared[_-]?access[_-]?(?:key|signature)|secret[_-]?value"
    r"|(?:primary|secondary)[_-]?key|sig"
)
# In a form or an address, and in JSON: "password: give one" is a sentence.
_FORM = re.compile(rf"(?P<name>(?<![A-Za-z])(?:{_KEYS})=)(?P<value>{_VALUE})", re.IGNORECASE)
_JSON = re.compile(
    rf"""(?P<name>\\?["'](?:\w*_)?(?:{_KEYS})\\?["']\s*:\s*)"""
    r"""(?P<value>"(?:[^"\\]|\\.)*"?|\\"(?:[^"\\]|\\[^"])*(?:\\")?|'[^']*'?)""",
    re.IGNORECASE,
)
_ALONE = (
    # OAuth's and basic sign-in; "basic authentication" is a word.
    re.compile(r"(?i:\b(?:bearer|basic)\s+)(?=[\w.~+/=-]*[\d=]|[\w.~+/=-]{20})[\w.~+/=-]{8,}"),
    # Databricks' personal access, service principal's and OAuth secrets.
    re.compile(r"\bd(?:api|kea|ose)[0-9a-f]{16,}(?:-\d+)?"),
    # A JSON web token, whole or cut off.
    re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*)*"),
    re.compile(r"(?<=://)[^/\s:@\"'<>]+:[^/\s@\"'<>]+(?=@)"),
)

_kept: dict[str, None] = {}


def keep_secret(value: str | None) -> None:
    """Strike a value out of all texts from now on: a token or a password that this process signs in with."""
    if value and len(value) >= _SHORTEST:
        _kept.pop(value, None)
        _kept[value] = None
        while len(_kept) > _KEPT:
            del _kept[next(iter(_kept))]


def redacted(text: str) -> str:
    """Return a text without secrets, and with each HTML page in it replaced by one line.

    Struck out are the values of `SECRET_VARIABLES` and of `keep_secret`; headers and fields that hold a credential;
    and whatever looks like a token, a signature or a password in an address. Done twice, it changes nothing more.
    """
    text = _PAGE.sub(_NO_PAGE, _SDK_REPORT.sub(_without_request, text))
    for value in _known():
        text = text.replace(value, STRUCK)
    for pattern in (_HEADER, _JSON, _FORM):
        text = pattern.sub(_struck, text)
    for pattern in _ALONE:
        text = pattern.sub(STRUCK, text)
    return text


def is_page(text: str) -> bool:
    """Whether a text holds an HTML page, as a proxy's answer does."""
    return _PAGE.search(text) is not None


def first_line(error: BaseException | str) -> str:
    """The first line of an error's text that says something, redacted and with no full stop; its class without one."""
    text = redacted(str(getattr(error, "message", "") or error))
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return (line or type(error).__name__).rstrip(".")


def redact(error: BaseException | None) -> None:
    """Redact an error in place, and with it all that it was raised from or while handling.

    A traceback shows the whole chain, each error by the text that it was made with; ``from None`` would hide from it
    the reason as well.
    """
    seen: set[int] = set()
    left = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        left += [one.__cause__, one.__context__, *(each for each in one.args if isinstance(each, BaseException))]
        args = tuple(redacted(each) if isinstance(each, str) else each for each in one.args)
        if args != one.args:
            one.args = args
        for name, value in vars(one).items():
            # Errors keep their text under names of their own, too: message, reason, __notes__.
            if isinstance(value, str) and (clean := redacted(value)) != value:
                with suppress(AttributeError, TypeError):
                    setattr(one, name, clean)
            elif name == "__notes__":
                value[:] = [redacted(str(note)) for note in value]
        if (text := str(one)) != redacted(text):
            # It makes its text when it is shown, as azure-core does of the answer that it keeps.
            with suppress(TypeError):
                one.__class__ = _redacting(type(one))


def _redacting(kind: Any) -> Any:
    """The same class of errors, with a redacted text."""
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (kind,), {"__str__": lambda self: redacted(kind.__str__(self)), **named})


class RedactingFilter(logging.Filter):
    """Redacts what a logger is given, with the error that it quotes."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without secrets."""
        record.msg, record.args = redacted(record.getMessage()), ()
        if record.exc_info:
            redact(record.exc_info[1])
        return True


_filter = RedactingFilter()


def logger(name: str) -> logging.Logger:
    """Return the logger of that name; what it writes is redacted."""
    found = logging.getLogger(name)
    # A filter is not inherited, and added twice it stays one.
    found.addFilter(_filter)
    return found


def _known() -> list[str]:
    values = [value for name in SECRET_VARIABLES if len(value := os.environ.get(name, "")) >= _SHORTEST]
    # As they are, and as addresses and JSON have them; the longest first, as one may be part of another.
    spelled = {
        spelling
        for value in (*values, *_kept)
        for spelling in (value, quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1])
    }
    return sorted(spelled, key=len, reverse=True)


def _without_request(report: re.Match[str]) -> str:
    status = _SDK_STATUS.search(report[1])
    what = (
        _NO_PAGE
        if _NO_PAGE in report[1] or _PAGE.search(report[1])
        else "something that is not JSON: a proxy or a wrong host?"
    )
    return f"answered {status[1]} with {what}" if status else f"answered with {what}"


def _struck(match: re.Match[str]) -> str:
    value = match["value"]
    mark = next((mark for mark in ('\\"', '"', "'") if value.startswith(mark)), "")
    return f"{match['name']}{mark}{STRUCK}{mark}"
