"""Check in order what the walk needs of both workspaces, and say of the first thing that fails what to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import requests

from adbazureml.azure.clouds import current_cloud
from adbazureml.azure.credential import credential_for, sign_in_by
from adbazureml.azure.outages import outage, within
from adbazureml.azure.refusals import RefusedError
from adbazureml.azure.resource_manager import read_resource
from adbazureml.cli.error_messages import explain_error
from adbazureml.cli.options import NONE_NAMED
from adbazureml.errors import AdbAzureMLError, WorkspaceError
from adbazureml.settings import Settings
from adbazureml.text import first_line, is_page
from adbazureml.workspaces import AzureMLWorkspace
from adbazureml.workspaces.databricks import chosen_host, reached_databricks
from adbazureml.workspaces.probe import REGISTRY, TRACKING, probe_service

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

# For all checks together, and for one request to a host that may be dead.
ALL_SECONDS, REQUEST_SECONDS = 28.0, 8.0
_SUBSCRIPTION_API, _WORKSPACE_API, _STORAGE_API = "2022-12-01", "2024-04-01", "2023-01-01"
_RIGHTS = {
    "catalog": ("USE_CATALOG",),
    "schema": ("USE_SCHEMA", "SELECT", "MODIFY", "CREATE_TABLE", "CREATE_MODEL"),
    "volume": ("READ_VOLUME", "WRITE_VOLUME"),
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome of one check, and what there is to say of it: a detail, or what to do."""

    check: str
    state: Literal["fine", "FAILED", "not checked"]
    note: str = ""

    def __str__(self) -> str:
        return f"{self.check:<20} {self.state:<12} {self.note}".rstrip()


@dataclass(kw_only=True)
class Doctor:
    """Checks one after the other; what needs one that failed is not checked.

    Attributes
    ----------
    settings : Settings
        Name the Azure ML workspace and the Databricks one.
    catalog, schema, volume : str
        Where tables, models and files are kept in Unity Catalog; empty: not asked for.
    """

    settings: Settings
    catalog: str = ""
    schema: str = ""
    volume: str = ""
    _found: dict[str, Any] = field(default_factory=dict)

    def findings(self) -> Iterator[Finding]:
        """Give each finding when it is there."""
        end = time.monotonic() + ALL_SECONDS
        failed: set[str] = set()
        for name, needs, check in self._checks():
            if first := next((one for one in needs if one in failed), ""):
                failed.add(name)
                yield Finding(check=name, state="not checked", note=f"needs: {first}")
                continue
            try:
                note = within(end - time.monotonic(), check)
            except AdbAzureMLError as error:
                failed.add(name)
                yield Finding(check=name, state="FAILED", note=_in_one_line(str(error)))
            except TimeoutError:
                failed.add(name)
                yield Finding(check=name, state="FAILED", note="there is no answer: check the network and the proxy.")
            except Exception as error:
                failed.add(name)
                yield Finding(check=name, state="FAILED", note=explain_error(error) or first_line(error))
            else:
                yield Finding(check=name, state="fine", note=note)

    def _checks(self) -> Iterator[tuple[str, tuple[str, ...], Callable[[], str]]]:
        yield "Databricks host", (), self._host
        yield "Databricks sign-in", ("Databricks host",), self._sign_in
        if self.catalog:
            yield "catalog", ("Databricks sign-in",), lambda: self._rights("catalog", self.catalog)
        if self.schema:
            name = f"{self.catalog}.{self.schema}"
            yield "schema", ("catalog",), lambda: self._rights("schema", name)
        if self.volume:
            name_of_volume = f"{self.catalog}.{self.schema}.{self.volume}"
            yield "volume", ("schema",), lambda: self._rights("volume", name_of_volume)
        yield "Azure sign-in", (), self._azure
        yield "Resource Manager", ("Azure sign-in",), self._subscription
        yield "Azure ML workspace", ("Resource Manager",), self._workspace
        yield "tracking server", ("Azure ML workspace",), lambda: probe_service(self._azureml, TRACKING)
        yield "registry", ("tracking server",), lambda: probe_service(self._azureml, REGISTRY)
        yield "storage", ("Azure ML workspace",), self._storage
        yield "link", ("Databricks sign-in", "Azure ML workspace"), self._link

    @property
    def _azureml(self) -> AzureMLWorkspace:
        workspace: AzureMLWorkspace = self._found["workspace"]
        return workspace

    def _host(self) -> str:
        host = chosen_host()
        if not host:
            raise WorkspaceError(
                "no Databricks workspace is chosen: set DATABRICKS_HOST and DATABRICKS_TOKEN, or"
                " DATABRICKS_CONFIG_PROFILE."
            )
        host = host if "://" in host else f"https://{host}"
        try:
            requests.get(host, timeout=REQUEST_SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            raise WorkspaceError(
                f"{host} can't be reached: {outage(error) or first_line(error)}. Check DATABRICKS_HOST or the profile,"
                " the network and the proxy."
            ) from error
        return host

    def _sign_in(self) -> str:
        client, _ = reached_databricks()
        me = client.current_user.me()
        groups = [one.display for one in me.groups or () if one.display]
        self._found |= {"client": client, "principals": {me.user_name, *groups, "account users", "users"}}
        return f"{me.user_name}"

    def _rights(self, kind: Literal["catalog", "schema", "volume"], name: str) -> str:
        from databricks.sdk.errors import NotFound, PermissionDenied

        client: WorkspaceClient = self._found["client"]
        try:
            owner = {"catalog": client.catalogs, "schema": client.schemas}.get(kind, client.volumes)
            described = owner.read(name) if kind == "volume" else owner.get(name)  # type: ignore[attr-defined]
            held = self._held(kind, name) | (
                {"ALL_PRIVILEGES"} if described.owner in self._found["principals"] else set()
            )
        except NotFound as error:
            raise WorkspaceError(
                f"{kind} {name!r}: there is none of this name, or this identity may not see it. Check --{kind}, or have"
                f" {_in_words(_RIGHTS[kind])} granted on it."
            ) from error
        except PermissionDenied as error:
            raise WorkspaceError(
                f"{kind} {name!r}: this identity may not see it ({first_line(error)}). Have"
                f" {_in_words(_RIGHTS[kind])} granted on it."
            ) from error
        lacking = [] if "ALL_PRIVILEGES" in held else [one for one in _RIGHTS[kind] if one not in held]
        if lacking:
            who = self._found["client"].current_user.me().user_name
            raise WorkspaceError(
                f"{kind} {name!r}: {who} lacks {_in_words(lacking)}. Have it granted: GRANT {_in_words(lacking)} ON"
                f" {kind.upper()} {name} TO `{who}`."
            )
        return f"{name}: {_in_words(_RIGHTS[kind])}"

    def _held(self, kind: str, name: str) -> set[str]:
        """The privileges that this identity and its groups have there, or higher up."""
        client: WorkspaceClient = self._found["client"]
        held: set[str] = set()
        token = None
        while True:
            page = client.grants.get_effective(kind, name, max_results=0, page_token=token)
            for one in page.privilege_assignments or ():
                if one.principal in self._found["principals"]:
                    held |= {each.privilege.value for each in one.privileges or () if each.privilege}
            token = page.next_page_token
            if not token:
                return held

    def _azure(self) -> str:
        sign_in_by(service_credential=self.settings.service_credential, secret_scope=self.settings.secret_scope)
        cloud = current_cloud(self.settings.cloud)
        credential = credential_for(cloud)
        credential.get_token(cloud.scope)
        self._found["credential"] = credential
        return credential.identity

    def _subscription(self) -> str:
        subscription = self.settings.subscription_id
        if not subscription:
            raise WorkspaceError(NONE_NAMED)
        try:
            read_resource(
                f"/subscriptions/{subscription}", api_version=_SUBSCRIPTION_API, credential=self._found["credential"]
            )
        except RefusedError as error:
            if error.status in (401, 404):
                raise WorkspaceError(
                    f"subscription_id {subscription!r} is not there for this identity: {error} Check it, and the"
                    " parameter cloud."
                ) from error
            # A role on the workspace alone does not let the subscription be read.
        return str(self._found["credential"].cloud.resource_manager)

    def _workspace(self) -> str:
        found = AzureMLWorkspace.get(
            name=self.settings.workspace_name,
            subscription_id=self.settings.subscription_id,
            resource_group=self.settings.resource_group,
            cloud=self.settings.cloud,
        )
        self._found["workspace"] = found
        return f"{found.name} in {found.location}"

    def _storage(self) -> str:
        credential = self._found["credential"]
        resource = read_resource(self._azureml.arm_id, api_version=_WORKSPACE_API, credential=credential)
        account = str(resource["properties"].get("storageAccount", ""))
        address = f"https://{account.rpartition('/')[2]}.blob.{credential.cloud.storage_suffix}"
        try:
            described = read_resource(account, api_version=_STORAGE_API, credential=credential)["properties"]
            address = described.get("primaryEndpoints", {}).get("blob", address)
        except RefusedError:
            # Who may use the workspace need not see the account as a resource; its address is its name's.
            pass
        try:
            answer = requests.get(address, params={"comp": "list"}, timeout=REQUEST_SECONDS)
        except requests.RequestException as error:
            raise WorkspaceError(
                f"{address} can't be reached: {outage(error) or first_line(error)}. Check the network from here, and"
                " what the storage account lets in (in the portal: Networking)."
            ) from error
        if is_page(answer.text):
            raise WorkspaceError(f"{address} answers with an HTML page: a proxy is between.")
        if answer.headers.get("x-ms-error-code") == "AuthorizationFailure":
            raise WorkspaceError(
                f"{address} does not let this network in: allow it in the storage account (in the portal: Networking)."
            )
        return urlsplit(address).netloc

    def _link(self) -> str:
        from adbazureml.workspaces.link import show_link

        link = show_link(self._azureml, databricks=self.settings.databricks_workspace, required=False)
        if link.databricks is None:
            return "can't be seen by this identity; no run needs it"
        if link.linked_to and not link.is_set:
            raise WorkspaceError(
                f"{link.databricks.name} is linked to {link.linked_to}: no run needs the link; `adbazureml link set"
                " --replace` changes it."
            )
        return "set" if link.is_set else "not set; no run needs it"


def _in_words(privileges: Any) -> str:
    return ", ".join(one.replace("_", " ") for one in privileges)


def _in_one_line(text: str) -> str:
    """Join the lines of a message, with a semicolon between those of a list, which are indented."""
    said = ""
    for line in text.splitlines():
        ended = not said or said.endswith((".", ":"))
        said += f"{' ' if ended else '; ' if line.startswith(' ') else '. '}{line.strip()}"
    return said.strip()
