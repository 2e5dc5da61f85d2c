"""A service that understands nothing and repeats everything: a proxy or a wrong host, with the caller's secrets."""

from __future__ import annotations

import json
from html import escape
from typing import Literal, get_args

from .azureml.messages import Answer, Call, Problem, Service
from .azureml.service import HttpService

Babble = Literal["html 403", "html 500", "html 200", "cut json 400", "json 401"]
BABBLES: tuple[Babble, ...] = get_args(Babble)


class Babbling(Service):
    """Answers every call alike, with the call's headers and body in it."""

    name = "babbling"

    def __init__(self, kind: Babble) -> None:
        self.kind = kind

    def answer(self, call: Call) -> Answer:
        *_, status = self.kind.split()
        heard = "\n".join([f"{name}: {value}" for name, value in call.headers.items()] + [call.content.decode()])
        if self.kind.startswith("html"):
            # Without a title, by which databricks-sdk would call the page.
            page = f"<!DOCTYPE html>\n<html>\n<body>You sent\n{escape(heard)}</body>\n</html>"
            return Answer(int(status), page.encode(), {"Content-Type": "text/html"})
        text = json.dumps(
            {"error_code": "WRONG", "message": f"You sent {heard}", "error": {"code": "Wrong", "message": heard}}
        )
        text = text[:-20] if self.kind.startswith("cut") else text
        return Answer(int(status), text.encode(), {"Content-Type": "application/json"})

    def refusal(self, problem: Problem) -> Answer:
        raise problem


class BabblingHost:
    """Such a service on loopback while its ``with`` block runs."""

    def __init__(self, kind: Babble) -> None:
        self._service = HttpService()
        self._babbling = Babbling(kind)

    def __enter__(self) -> BabblingHost:
        self._service.serve([("/", self._babbling)])
        return self

    def __exit__(self, *_: object) -> None:
        self._service.close()

    @property
    def url(self) -> str:
        return self._service.url
