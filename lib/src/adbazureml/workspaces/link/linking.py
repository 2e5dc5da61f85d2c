"""Link the Databricks workspace to the Azure ML workspace, as the button in Azure's portal does; show and end it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from adbazureml.azure.credential import Credential, credential_for
from adbazureml.azure.long_operations import TERMINAL, databricks_client, wait_for, wait_until_terminal
from adbazureml.azure.refusals import RefusedError, explaining_errors
from adbazureml.azure.resource_manager import read_resource
from adbazureml.azure.workspace_address import parse_arm_id
from adbazureml.errors import CredentialError, WorkspaceError
from adbazureml.text import html_table
from adbazureml.workspaces.azureml import AzureMLWorkspace
from adbazureml.workspaces.databricks import databricks_sign_in
from adbazureml.workspaces.link.databricks_resource import DatabricksResource, find_by_name, find_by_url, parse_id

if TYPE_CHECKING:
    from azure.mgmt.databricks import AzureDatabricksManagementClient

NO_LINK_NEEDED = "Tracking by this package does not use the link: `track(workspace, mode='both')` works without it."


@dataclass(frozen=True, kw_only=True)
class Link:
    """What links a Databricks workspace to an Azure ML workspace.

    Attributes
    ----------
    databricks : DatabricksResource or None
        None for local backends, and where it can't be seen.
    linked_to : str
        Resource id of the Azure ML workspace that it is linked to; empty for none.
    wanted : str
        Resource id of the Azure ML workspace that was asked about.
    portals : tuple of str
        The pages of both in Azure's portal, Databricks first.
    notes : tuple of str
        What a reader should know.
    changed : bool
        Whether the call that returned this has changed the link.
    """

    databricks: DatabricksResource | None
    linked_to: str
    wanted: str
    portals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    changed: bool = False

    @property
    def is_set(self) -> bool:
        """Whether the Databricks workspace is linked to the Azure ML workspace that was asked about."""
        return bool(self.wanted) and self.linked_to.lower() == self.wanted.lower()

    def rows(self) -> dict[str, str]:
        """What is known, by name, for a table."""
        if self.databricks is None:
            return {}
        state = "not linked"
        if self.linked_to:
            state = "linked" if self.is_set or not self.wanted else "linked to another Azure ML workspace"
        rows = {
            "Databricks workspace": self.databricks.name,
            "its resource id": self.databricks.resource_id,
            "Azure ML workspace": self.wanted.rpartition("/")[2],
            "link": state + (" (just changed)" if self.changed else ""),
            "linked to": self.linked_to or "nothing",
        }
        return {**rows, **dict(zip(("Databricks in the portal", "Azure ML in the portal"), self.portals, strict=False))}

    def __str__(self) -> str:
        lines = [f"{name:<25} {value}" for name, value in self.rows().items()]
        return "\n".join([*lines, *self.notes])

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        rows = self.rows()
        return (html_table(rows.items()) if rows else "") + notes


def show_link(workspace: AzureMLWorkspace | None, *, databricks: str = "", required: bool = True) -> Link:
    """Say what the Databricks workspace is linked to; changes nothing.

    Parameters
    ----------
    workspace : AzureMLWorkspace or None
        The Azure ML workspace to compare with. With a local backend or None there is nothing to ask, and the result
        says so.
    databricks : str
        Name or resource id of the Databricks workspace; empty: the one that this runs in or is signed in to. A name
        is looked for in the Azure ML workspace's subscription.
    required : bool
        Whether it is an error that the Databricks workspace can't be seen. Otherwise a note says why: an identity that
        may track in both workspaces need not see that they are resources in Azure.

    Raises
    ------
    CredentialError
        There is no identity to sign in with.
    WorkspaceError
        The Databricks workspace is not found, may not be read, or Azure does not answer.
    """
    if workspace is None or not workspace.arm_id:
        return _nothing_to_link(workspace)
    try:
        return _Linking(workspace, databricks).shown()
    except WorkspaceError as error:
        if required or isinstance(error, CredentialError):
            raise
        note = f"Whether the two are linked can't be seen. {error}"
        return Link(databricks=None, linked_to="", wanted=workspace.arm_id, notes=(note, NO_LINK_NEEDED))


def link_workspaces(
    workspace: AzureMLWorkspace | None, *, databricks: str = "", replace: bool = False, timeout: float = 900
) -> Link:
    """Link the Databricks workspace to an Azure ML workspace: what the portal's button does.

    Sets the parameter ``amlWorkspaceId`` of the Databricks workspace in Azure, all else stays as it is, and waits
    until Azure has done it. Linked already, it changes nothing.

    Parameters
    ----------
    workspace : AzureMLWorkspace or None
        See `create_workspace` for a new one.
    databricks : str
        As in `show_link`.
    replace : bool
        Whether another link may be in the way: of this Databricks workspace to another Azure ML workspace, which is
        then replaced; or of another Databricks workspace to this Azure ML workspace, which stays as it is.
    timeout : float
        Seconds to wait for Azure.

    Raises
    ------
    CredentialError
        There is no identity to sign in with.
    WorkspaceError
        Another link is in the way; this identity may not change the Databricks workspace; Azure refused or failed; or
        time ran out, and then Azure goes on: calling again waits for the end.
    """
    if workspace is None or not workspace.arm_id:
        return _nothing_to_link(workspace)
    return _Linking(workspace, databricks).link(replace_other=replace, timeout=timeout)


def unlink_workspaces(workspace: AzureMLWorkspace | None, *, databricks: str = "", timeout: float = 900) -> Link:
    """End the link between the two; nothing that either workspace holds is touched.

    Parameters
    ----------
    workspace, databricks, timeout
        As in `link_workspaces`. A link to another Azure ML workspace than this is left as it is, and an error.

    Raises
    ------
    CredentialError, WorkspaceError
        As in `link_workspaces`; or Azure keeps the link.
    """
    if workspace is None or not workspace.arm_id:
        return _nothing_to_link(workspace)
    return _Linking(workspace, databricks).unlink(timeout=timeout)


class _Linking:
    """One Databricks workspace, one Azure ML workspace, and Azure between them."""

    def __init__(self, workspace: AzureMLWorkspace, databricks: str) -> None:
        self.workspace = workspace
        self.credential = credential_for(workspace.cloud)
        self._azureml = parse_arm_id(workspace.arm_id)
        named = parse_id(databricks)
        self.subscription_id = named[0] if named else self._azureml.subscription_id
        self.names = {"databricks": databricks or "this one", "subscription_id": self.subscription_id}
        self.client: AzureDatabricksManagementClient = databricks_client(self.credential, self.subscription_id)
        with self._explained():
            self.resource = self._find(databricks, named)
        self.names["databricks"] = self.resource.name

    def _find(self, databricks: str, named: tuple[str, str, str] | None) -> DatabricksResource:
        if named:
            return DatabricksResource.of(self.client.workspaces.get(named[1], named[2]))
        place: dict[str, Any] = {"subscription_id": self.subscription_id, "credential": self.credential}
        if databricks:
            return find_by_name(self.client, name=databricks, **place)
        return find_by_url(self.client, host=_this_host(), **place)

    def shown(self, *, changed: bool = False) -> Link:
        portal = self.credential.cloud.portal
        ids = (self.resource.resource_id, self.workspace.arm_id)
        return Link(
            databricks=self.resource,
            linked_to=self.resource.linked_to,
            wanted=self.workspace.arm_id,
            portals=tuple(f"{portal}/#@/resource{resource_id}/overview" for resource_id in ids),
            notes=self._notes(),
            changed=changed,
        )

    def link(self, *, replace_other: bool, timeout: float) -> Link:
        end = time.monotonic() + timeout
        with self._explained():
            self._wait_until_terminal(end)
            if self._is(self.resource.linked_to):
                print(f"  {self.resource.name} is linked to {self.workspace.name} already")
                return self.shown()
            self._check(replace_other=replace_other)
            self._put(self.workspace.arm_id, end)
            if not self._is(self.resource.linked_to):
                raise WorkspaceError(
                    f"Databricks workspace {self.resource.name!r}: Azure took the change, but says that it is linked to"
                    f" {self.resource.linked_to or 'nothing'}. {NO_LINK_NEEDED}"
                )
        return self.shown(changed=True)

    def unlink(self, *, timeout: float) -> Link:
        end = time.monotonic() + timeout
        with self._explained():
            self._wait_until_terminal(end)
            linked_to = self.resource.linked_to
            if not linked_to:
                print(f"  {self.resource.name} is not linked")
                return self.shown()
            if not self._is(linked_to):
                raise WorkspaceError(
                    f"Databricks workspace {self.resource.name!r} is linked to another Azure ML workspace than"
                    f" {self.workspace.name!r}: {linked_to}. Name that one to end its link."
                )
            # Azure documents how to set the parameter, not how to end it: leave it out, or else empty it.
            for value in (None, ""):
                self._put(value, end)
                if not self.resource.linked_to:
                    return self.shown(changed=True)
        raise WorkspaceError(
            f"Databricks workspace {self.resource.name!r}: Azure took the change, but keeps the link to {linked_to}."
            f" It can be replaced by another one. {NO_LINK_NEEDED}"
        )

    def _check(self, *, replace_other: bool) -> None:
        if self.resource.serverless:
            raise WorkspaceError(
                f"Databricks workspace {self.resource.name!r} is a serverless workspace, which Azure does not let link."
                f" {NO_LINK_NEEDED}"
            )
        if replace_other:
            return
        if self.resource.linked_to:
            raise WorkspaceError(
                f"Databricks workspace {self.resource.name!r} is linked to another Azure ML workspace:"
                f" {self.resource.linked_to}. Others may use that link: ask them, then replace it with replace=True"
                f" (parameter replace_link). {NO_LINK_NEEDED}"
            )
        holders = [one for one in self.client.workspaces.list_by_subscription() if self._is(_link_of(one))]
        if holders:
            raise WorkspaceError(
                f"Azure ML workspace {self.workspace.name!r} is linked to another Databricks workspace:"
                f" {', '.join(str(one.id) for one in holders)}. End that link first, or link a second one with"
                f" replace=True (parameter replace_link). {NO_LINK_NEEDED}"
            )

    def _put(self, linked_to: str | None, end: float) -> None:
        """Write the workspace back as it was read, with another link, and read it again when Azure is done."""
        from azure.core.exceptions import ResourceExistsError
        from azure.mgmt.databricks.models import WorkspaceCustomParameters, WorkspaceCustomStringParameter

        group, name = self.resource.resource_group, self.resource.name
        read = self.client.workspaces.get(group, name)
        parameters = read.properties.parameters or WorkspaceCustomParameters()
        if linked_to is None:
            parameters.pop("amlWorkspaceId", None)
        else:
            parameters.aml_workspace_id = WorkspaceCustomStringParameter(value=linked_to)
        read.properties.parameters = parameters
        try:
            poller = self.client.workspaces.begin_create_or_update(group, name, read)
        except ResourceExistsError:
            # Azure is at it: for somebody else, or for this very call, whose first answer was lost on its way.
            self._read()
            if self.resource.state in TERMINAL:
                raise
            self._wait_until_terminal(end)
            if self.resource.linked_to.lower() != (linked_to or "").lower():
                raise
            return
        wait_for(
            poller,
            what=f"Databricks workspace {name}",
            timeout=max(end - time.monotonic(), 0.0),
            if_late="It goes on: run this again to see how it ended. Tracking does not wait for it.",
        )
        self._read()

    def _wait_until_terminal(self, end: float) -> None:
        """Wait for what somebody, or an earlier call, has under way; Azure refuses a change meanwhile."""

        def read() -> str:
            self._read()
            return self.resource.state

        late = (
            f"Databricks workspace {self.resource.name!r}: another change of it is under way ({{state}}), and did not"
            " end in time. Run this again later."
        )
        what = f"Databricks workspace {self.resource.name}"
        wait_until_terminal(self.resource.state, read, what=what, end=end, if_late=late)

    def _read(self) -> None:
        group, name = self.resource.resource_group, self.resource.name
        self.resource = DatabricksResource.of(self.client.workspaces.get(group, name))

    def _is(self, resource_id: str) -> bool:
        return resource_id.lower() == self.workspace.arm_id.lower()

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self.credential.cloud.name == "AzureChinaCloud":
            notes.append(
                "Azure operated by 21Vianet: the link can be set, but Microsoft's own dual tracking never worked there."
                f" {NO_LINK_NEEDED}"
            )
        if self.resource.private or _is_private(self.workspace, self.credential):
            notes.append(
                "A private link guards one of the two: the link can be set, but Microsoft's own dual tracking does not"
                f" work through it. {NO_LINK_NEEDED} The cluster needs a way to the private endpoint."
            )
        return tuple(notes) or (NO_LINK_NEEDED,)

    def _explained(self) -> Any:
        return explaining_errors(_REFUSALS, self.credential, **self.names)


def _link_of(resource: Any) -> str:
    return DatabricksResource.of(resource).linked_to


def _nothing_to_link(workspace: AzureMLWorkspace | None) -> Link:
    if workspace is None:
        note = "Databricks is used alone: there is no Azure ML workspace to link to."
    else:
        note = (
            "Both workspaces are local backends, so there is nothing to link. With an Azure ML workspace named, this"
            " shows the link that Azure has, and `link_workspaces` sets amlWorkspaceId of the Databricks workspace, as"
            " the portal's button does."
        )
    return Link(databricks=None, linked_to="", wanted="", notes=(note, NO_LINK_NEEDED))


def _this_host() -> str:
    """Address of the Databricks workspace that this runs in, or is signed in to."""
    try:
        return str(databricks_sign_in().config.host)
    except WorkspaceError as error:
        raise WorkspaceError(
            "databricks '': this runs outside Databricks and is not signed in to a workspace. Give the name"
            " or the resource id of the Databricks workspace."
        ) from error


def _is_private(workspace: AzureMLWorkspace, credential: Credential) -> bool:
    try:
        found = read_resource(workspace.arm_id, api_version="2024-04-01", credential=credential)
    except RefusedError:
        return False
    properties = found.get("properties", {})
    return properties.get("publicNetworkAccess") == "Disabled" or bool(properties.get("privateEndpointConnections"))


_REFUSALS = {
    "SubscriptionNotFound": (
        "subscription_id {subscription_id!r}: {cloud} has no such subscription for this identity ({identity})."
    ),
    "ResourceGroupNotFound": "databricks {databricks!r}: its resource group is not there ({answer}).",
    "404": (
        "databricks {databricks!r}: there is no such Databricks workspace ({answer}). Give the resource id"
        " that the portal shows under Properties, of the Databricks workspace, not of its managed resource group."
    ),
    "403": (
        "Databricks workspace {databricks}: this identity ({identity}) may not do that ({answer}). Linking needs the"
        " role 'Contributor' on the Databricks workspace; it takes minutes until a new role counts. " + NO_LINK_NEEDED
    ),
    "409": (
        "Databricks workspace {databricks}: Azure can't change it now ({answer}). If something else is under way, run"
        " this again when it is done."
    ),
    "400": "Databricks workspace {databricks}: Azure does not take the link ({answer}). " + NO_LINK_NEEDED,
    "200": (
        "Databricks workspace {databricks}: Azure began to change the link, and failed ({answer}). The link is as it"
        " was before; run this again, or see the portal's activity log. " + NO_LINK_NEEDED
    ),
}
