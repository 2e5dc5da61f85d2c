"""Unity Catalog: registered models, their versions and aliases, and tables."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .routes import Asked, Routes, page, refused, required

if TYPE_CHECKING:
    from .emulator import DatabricksEmulator

_API = "/api/2.1/unity-catalog"


class UnityCatalog:
    """Models and tables, by full name in lower case.

    Attributes:
        models: each registered model with its ``versions``, by number, and ``aliases``.
        tables: what is known of each table.
        read_only: catalogs in which the user may only look.
        securables: catalogs, schemas and volumes by kind and full name.
        grants: the privileges on each of these, by principal.
    """

    page_size = 100

    def __init__(self, workspace: DatabricksEmulator) -> None:
        self._workspace = workspace
        self.models: dict[str, dict[str, Any]] = {}
        self.tables: dict[str, dict[str, Any]] = {}
        self.read_only: set[str] = set()
        self.securables: dict[tuple[str, str], dict[str, Any]] = {}
        self.grants: dict[tuple[str, str], dict[str, set[str]]] = {}

    def routes(self) -> Routes:
        model, version = rf"{_API}/models/(?P<full_name>[^/]+)", r"/versions/(?P<version>\d+)"
        return {
            ("GET", f"{_API}/models"): self._list_models,
            ("POST", f"{_API}/models"): self._create_model,
            ("GET", model): lambda asked: self._shown(self._model(asked)),
            ("PATCH", model): self._update_model,
            ("DELETE", model): self._delete_model,
            ("GET", f"{model}/versions"): self._list_versions,
            ("GET", model + version): self._version,
            ("PATCH", model + version): self._update_version,
            ("DELETE", model + version): self._delete_version,
            ("PUT", rf"{model}/aliases/(?P<alias>[^/]+)"): self._set_alias,
            ("GET", rf"{model}/aliases/(?P<alias>[^/]+)"): self._by_alias,
            ("DELETE", rf"{model}/aliases/(?P<alias>[^/]+)"): self._delete_alias,
            ("GET", rf"{_API}/(?P<kind>catalog|schema|volume)s/(?P<full_name>[^/]+)"): self._securable,
            ("GET", rf"{_API}/effective-permissions/(?P<kind>\w+)/(?P<full_name>[^/]+)"): self._effective,
            ("GET", f"{_API}/tables"): self._list_tables,
            ("GET", rf"{_API}/tables/(?P<full_name>[^/]+)"): self._table,
            ("DELETE", rf"{_API}/tables/(?P<full_name>[^/]+)"): self._delete_table,
        }

    # What a test puts there

    def add_model(self, full_name: str, *versions: int, **facts: Any) -> None:
        catalog, schema, name = full_name.lower().split(".")
        described = {"name": name, "catalog_name": catalog, "schema_name": schema, "full_name": full_name.lower()}
        now = int(time.time() * 1000)
        kept = {
            number: {
                "model_name": name,
                "catalog_name": catalog,
                "schema_name": schema,
                "version": number,
                "status": "READY",
                "created_at": now,
                **facts,
            }
            for number in versions
        }
        self.models[full_name.lower()] = {**described, "created_at": now, "versions": kept, "aliases": {}}

    def add_table(self, full_name: str, **facts: Any) -> None:
        catalog, schema, name = full_name.lower().split(".")
        described = {"name": name, "catalog_name": catalog, "schema_name": schema, "full_name": full_name.lower()}
        self.tables[full_name.lower()] = {**described, "table_type": "MANAGED", "data_source_format": "DELTA", **facts}

    def add_securable(self, kind: str, full_name: str, grants: dict[str, set[str]], owner: str = "admins") -> None:
        """A catalog, schema or volume, and who was granted what on it."""
        self.securables[kind, full_name] = {
            "name": full_name.rpartition(".")[2],
            "full_name": full_name,
            "owner": owner,
        }
        self.grants[kind, full_name] = grants

    # What callers ask

    def _list_models(self, asked: Asked) -> dict[str, Any]:
        found = [self._shown(one) for one in self.models.values() if _in_schema(one, asked)]
        return page(found, "registered_models", asked, self.page_size, asked_size="max_results")

    def _create_model(self, asked: Asked) -> dict[str, Any]:
        full_name = ".".join(required(asked, part) for part in ("catalog_name", "schema_name", "name")).lower()
        self._check_write(full_name)
        if full_name in self.models:
            raise refused(409, "RESOURCE_ALREADY_EXISTS", f"Routine or Model '{full_name}' already exists")
        self.add_model(full_name)
        return self._shown(self.models[full_name])

    def _update_model(self, asked: Asked) -> dict[str, Any]:
        model = self._model(asked)
        self._check_write(model["full_name"])
        model |= {name: asked[name] for name in ("comment", "owner") if name in asked}
        return self._shown(model)

    def _delete_model(self, asked: Asked) -> dict[str, Any]:
        model = self._model(asked)
        self._check_write(model["full_name"])
        if model["versions"]:
            raise refused(
                400, "INVALID_PARAMETER_VALUE", f"Model '{model['full_name']}' is not empty; it has versions."
            )
        del self.models[model["full_name"]]
        return {}

    def _list_versions(self, asked: Asked) -> dict[str, Any]:
        found = list(self._model(asked)["versions"].values())
        return page(found, "model_versions", asked, self.page_size, asked_size="max_results")

    def _version(self, asked: Asked) -> dict[str, Any]:
        model = self._model(asked)
        number = int(asked["version"])
        if number not in model["versions"]:
            raise refused(
                404, "RESOURCE_DOES_NOT_EXIST", f"Model version '{number}' of '{model['full_name']}' does not exist."
            )
        version: dict[str, Any] = model["versions"][number]
        return version

    def _update_version(self, asked: Asked) -> dict[str, Any]:
        version = self._version(asked)
        self._check_write(asked["full_name"].lower())
        version["comment"] = asked.get("comment", "")
        return version

    def _delete_version(self, asked: Asked) -> dict[str, Any]:
        self._version(asked)
        self._check_write(asked["full_name"].lower())
        model = self._model(asked)
        del model["versions"][int(asked["version"])]
        model["aliases"] = {one: to for one, to in model["aliases"].items() if to != int(asked["version"])}
        return {}

    def _set_alias(self, asked: Asked) -> dict[str, Any]:
        number = int(required(asked, "version_num"))
        self._version({**asked, "version": number})
        self._check_write(asked["full_name"].lower())
        self._model(asked)["aliases"][asked["alias"]] = number
        return {"alias_name": asked["alias"], "version_num": number}

    def _by_alias(self, asked: Asked) -> dict[str, Any]:
        aliases = self._model(asked)["aliases"]
        if asked["alias"] not in aliases:
            raise refused(404, "RESOURCE_DOES_NOT_EXIST", f"Alias '{asked['alias']}' does not exist.")
        return self._version({**asked, "version": aliases[asked["alias"]]})

    def _delete_alias(self, asked: Asked) -> dict[str, Any]:
        self._check_write(asked["full_name"].lower())
        self._model(asked)["aliases"].pop(asked["alias"], None)
        return {}

    def _securable(self, asked: Asked) -> dict[str, Any]:
        key = asked["kind"], asked["full_name"]
        if key not in self.securables:
            raise refused(
                404, f"{asked['kind'].upper()}_DOES_NOT_EXIST", f"{key[0].title()} '{key[1]}' does not exist."
            )
        return self.securables[key]

    def _effective(self, asked: Asked) -> dict[str, Any]:
        """What was granted here and higher up, each with where it comes from."""
        self._securable(asked)
        parts = asked["full_name"].split(".")
        here = [(kind, ".".join(parts[: depth + 1])) for depth, kind in enumerate(("catalog", "schema", "volume"))]
        held: dict[str, list[dict[str, str]]] = {}
        for kind, name in here[: len(parts)]:
            for principal, privileges in self.grants.get((kind, name), {}).items():
                inherited = (
                    {} if kind == asked["kind"] else {"inherited_from_type": kind.upper(), "inherited_from_name": name}
                )
                held.setdefault(principal, []).extend({"privilege": one, **inherited} for one in sorted(privileges))
        return {"privilege_assignments": [{"principal": one, "privileges": them} for one, them in held.items()]}

    def _list_tables(self, asked: Asked) -> dict[str, Any]:
        required(asked, "catalog_name"), required(asked, "schema_name")
        found = [one for one in self.tables.values() if _in_schema(one, asked)]
        return page(found, "tables", asked, self.page_size, asked_size="max_results")

    def _table(self, asked: Asked) -> dict[str, Any]:
        if asked["full_name"].lower() not in self.tables:
            raise refused(404, "TABLE_DOES_NOT_EXIST", f"Table '{asked['full_name']}' does not exist.")
        return self.tables[asked["full_name"].lower()]

    def _delete_table(self, asked: Asked) -> dict[str, Any]:
        self._table(asked)
        self._check_write(asked["full_name"].lower())
        del self.tables[asked["full_name"].lower()]
        return {}

    def _model(self, asked: Asked) -> dict[str, Any]:
        full_name = asked["full_name"].lower()
        if full_name not in self.models:
            raise refused(404, "RESOURCE_DOES_NOT_EXIST", f"Routine or Model '{full_name}' does not exist.")
        return self.models[full_name]

    def _check_write(self, full_name: str) -> None:
        if full_name.split(".", maxsplit=1)[0] in self.read_only:
            message = f"User does not have MODIFY on Routine or Model '{full_name}'."
            raise refused(403, "PERMISSION_DENIED", message)

    def _shown(self, model: dict[str, Any]) -> dict[str, Any]:
        aliases = [{"alias_name": one, "version_num": to} for one, to in model["aliases"].items()]
        return {**{name: fact for name, fact in model.items() if name != "versions"}, "aliases": aliases}


def _in_schema(one: dict[str, Any], asked: Asked) -> bool:
    wanted = {name: asked[name] for name in ("catalog_name", "schema_name") if asked.get(name)}
    return all(one[name] == value.lower() for name, value in wanted.items())
