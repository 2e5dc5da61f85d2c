"""A request of the outbox imports nothing: an import in a thread and one in a user's `mlflow.evaluate` may deadlock."""

import sys
from importlib.abc import MetaPathFinder

from mlflow.tracking.request_header.registry import resolve_request_headers

from adbazureml.tracking import outbox


class Asked(MetaPathFinder):
    """Finds nothing, and remembers what it was asked for."""

    def __init__(self):
        self.names = []

    def find_spec(self, name, path=None, target=None):
        self.names.append(name)


def test_the_headers_of_a_request_look_for_no_module(monkeypatch):
    monkeypatch.delitem(sys.modules, "dbruntime", raising=False)
    outbox._import_for_threads.__wrapped__("sqlite:///replica.db")
    asked = Asked()
    monkeypatch.setattr(sys, "meta_path", [asked, *sys.meta_path])
    resolve_request_headers()
    assert asked.names == []
