"""Secret scopes and what is in them."""

from __future__ import annotations

import base64
import time
from typing import Any

from .routes import Asked, Routes, refused, required


class Secrets:
    """The secrets, by scope and key."""

    def __init__(self) -> None:
        self.scopes: dict[str, dict[str, str]] = {}

    def routes(self) -> Routes:
        return {
            ("POST", "/api/2.0/secrets/scopes/create"): self._create_scope,
            ("GET", "/api/2.0/secrets/scopes/list"): self._list_scopes,
            ("POST", "/api/2.0/secrets/scopes/delete"): self._delete_scope,
            ("POST", "/api/2.0/secrets/put"): self._put,
            ("GET", "/api/2.0/secrets/get"): self._get,
            ("GET", "/api/2.0/secrets/list"): self._list,
            ("POST", "/api/2.0/secrets/delete"): self._delete,
        }

    def _create_scope(self, asked: Asked) -> dict[str, Any]:
        scope = required(asked, "scope")
        if scope in self.scopes:
            raise refused(400, "RESOURCE_ALREADY_EXISTS", f"Scope {scope} already exists!")
        self.scopes[scope] = {}
        return {}

    def _list_scopes(self, _: Asked) -> dict[str, Any]:
        return {"scopes": [{"name": name, "backend_type": "DATABRICKS"} for name in self.scopes]}

    def _delete_scope(self, asked: Asked) -> dict[str, Any]:
        self._scope(asked)
        del self.scopes[asked["scope"]]
        return {}

    def _put(self, asked: Asked) -> dict[str, Any]:
        self._scope(asked)[required(asked, "key")] = asked.get("string_value", "")
        return {}

    def _get(self, asked: Asked) -> dict[str, Any]:
        value = self._scope(asked)[self._key(asked)]
        return {"key": asked["key"], "value": base64.b64encode(value.encode()).decode()}

    def _list(self, asked: Asked) -> dict[str, Any]:
        now = int(time.time() * 1000)
        return {"secrets": [{"key": key, "last_updated_timestamp": now} for key in self._scope(asked)]}

    def _delete(self, asked: Asked) -> dict[str, Any]:
        del self._scope(asked)[self._key(asked)]
        return {}

    def _scope(self, asked: Asked) -> dict[str, str]:
        scope = required(asked, "scope")
        if scope not in self.scopes:
            raise refused(404, "RESOURCE_DOES_NOT_EXIST", f"Scope {scope} does not exist!")
        return self.scopes[scope]

    def _key(self, asked: Asked) -> str:
        key = str(required(asked, "key"))
        if key not in self._scope(asked):
            raise refused(
                404, "RESOURCE_DOES_NOT_EXIST", f"Secret does not exist with scope: {asked['scope']} and key: {key}"
            )
        return key
