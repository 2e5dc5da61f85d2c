"""A request of the outbox imports nothing: an import in a thread and one in a user's `mlflow.evaluate` may deadlock."""

import importlib
import sys

from mlflow.tracking.request_header.registry import resolve_request_headers

from adbazureml.tracking import outbox


def test_the_headers_of_a_request_take_no_lock_of_an_import(monkeypatch):
    monkeypatch.delitem(sys.modules, "dbruntime.databricks_repl_context", raising=False)
    outbox._import_for_threads.__wrapped__("sqlite:///replica.db")
    locked = []
    lock = importlib._bootstrap._get_module_lock
    monkeypatch.setattr(importlib._bootstrap, "_get_module_lock", lambda name: locked.append(name) or lock(name))
    resolve_request_headers()
    assert locked == []
