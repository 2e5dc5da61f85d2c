"""`dbutils`, which Databricks puts into a notebook: as a job's task has it, or a notebook that a person runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Widgets:
    """A job's parameters are there before any widget is made, and no widget overwrites one; all values are text."""

    def __init__(self, passed: Mapping[str, str]) -> None:
        assert all(isinstance(value, str) for value in passed.values())
        self.values = dict(passed)

    def text(self, name: str, default: str, label: str | None = None) -> None:
        assert isinstance(default, str)
        self.values.setdefault(name, default)

    def get(self, name: str) -> str:
        if name not in self.values:
            raise RuntimeError(f"InputWidgetNotDefined: No input widget named {name} is defined")
        return self.values[name]

    def getAll(self) -> dict[str, str]:
        return dict(self.values)


class TaskValues:
    """Values of the running task. By hand there is no task, and setting one does nothing."""

    def __init__(self, *, in_job: bool) -> None:
        self._in_job = in_job
        self.kept: dict[str, Any] = {}

    def set(self, key: str, value: Any) -> None:
        assert isinstance(value, (str, int, float, bool, list, dict)), "what JSON can hold"
        if self._in_job:
            self.kept[key] = value


class Secrets:
    """The secrets of all scopes that the caller may read."""

    def __init__(self, scopes: Mapping[str, Mapping[str, str]]) -> None:
        self._scopes = scopes

    def get(self, scope: str, key: str) -> str:
        if scope not in self._scopes:
            raise RuntimeError(f"IllegalArgumentException: Secret does not exist with scope: {scope} and key: {key}")
        return self._scopes[scope][key]


class Credentials:
    """The service credentials of Unity Catalog that the caller may use, each a ``TokenCredential`` of azure-core."""

    def __init__(self, usable: Mapping[str, Any]) -> None:
        self._usable = usable

    def getServiceCredentialsProvider(self, name: str) -> Any:
        if name not in self._usable:
            raise RuntimeError(f"PERMISSION_DENIED: User does not have ACCESS on Service Credential '{name}'.")
        return self._usable[name]


class Dbutils:
    """`dbutils` of a task when parameters are passed or ``in_job`` says so; of a person's notebook otherwise."""

    def __init__(
        self,
        passed: Mapping[str, str] | None = None,
        *,
        in_job: bool = True,
        secrets: Mapping[str, Mapping[str, str]] | None = None,
        service_credentials: Mapping[str, Any] | None = None,
    ) -> None:
        self.widgets = Widgets(passed or {})
        self.jobs = type("Jobs", (), {"taskValues": TaskValues(in_job=in_job)})()
        self.secrets = Secrets(secrets or {})
        self.credentials = Credentials(service_credentials or {})
