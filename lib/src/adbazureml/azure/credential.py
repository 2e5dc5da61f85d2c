"""The identity of this process in Azure, as the Azure SDKs and azureml-mlflow want a credential; it never prompts."""

from __future__ import annotations

import logging
import os
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from adbazureml import runtime
from adbazureml.azure.identities import (
    CLIENT_ID,
    CLIENT_SECRET,
    IDENTITIES,
    TENANT_ID,
    Identity,
    identity_variables,
    use_service_credential,
)
from adbazureml.azure.outages import within
from adbazureml.azure.sign_in_errors import explain_sign_in_error
from adbazureml.errors import CredentialError
from adbazureml.text import keep_secret

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, AccessTokenInfo, SupportsTokenInfo, TokenRequestOptions

    from adbazureml.azure.clouds import Cloud

SIGN_IN_SECONDS = 9.5
# azure-core asks for a new token this long before the old one ends.
_RENEWED_BEFORE, _STILL_GOOD = 300, 30

_Key = tuple[tuple[str, ...], str, bool]


class Credential:
    """Signs in with the first identity that there is, and keeps its tokens until they end.

    In this order: the service principal of ``AZURE_TENANT_ID``, ``AZURE_CLIENT_ID`` and ``AZURE_CLIENT_SECRET`` (or
    ``AZURE_CLIENT_CERTIFICATE_PATH``), a workload identity, a managed identity, the Azure CLI. A service principal or
    workload identity that is configured and refused is an error: no other is tried in its place.

    It serves wherever azure-core takes a credential, from any thread. A variable that changes in the environment is
    seen at the next call.

    Parameters
    ----------
    cloud : Cloud
        Where to sign in.
    """

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._lock = threading.Lock()
        self._tokens: dict[_Key, AccessTokenInfo] = {}
        self._signed_in: tuple[Identity, SupportsTokenInfo] | None = None
        self._variables = identity_variables()
        self._failure: tuple[float, str] = (0.0, "")
        # It would warn of every identity that is not there; the error names them all.
        logger = logging.getLogger("azure.identity")
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.ERROR)

    def __repr__(self) -> str:
        return f"Credential({self.cloud.name}, {self.identity or 'not signed in'})"

    @property
    def identity(self) -> str:
        """The identity that the last token is of; empty before the first."""
        signed_in = self._signed_in
        return signed_in[0].name if signed_in else ""

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **_: Any,
    ) -> AccessToken:
        """Return a token for the scopes, as azure-core's ``TokenCredential`` does.

        Raises
        ------
        CredentialError
            Within ten seconds: there is no identity, or the one there is was refused.
        """
        from azure.core.credentials import AccessToken

        options: TokenRequestOptions = {"enable_cae": enable_cae}
        if claims:
            options["claims"] = claims
        if tenant_id:
            options["tenant_id"] = tenant_id
        token = self.get_token_info(*scopes, options=options)
        return AccessToken(token.token, token.expires_on)

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """Return a token for the scopes and what is known of it, as azure-core's ``SupportsTokenInfo`` does.

        Raises
        ------
        CredentialError
            As `get_token`.
        """
        asked = time.monotonic()
        options = options or {}
        key = (scopes, options.get("tenant_id", ""), options.get("enable_cae", False))
        with self._lock:
            if self._variables != identity_variables():
                self._forget()
            kept = self._tokens.get(key)
            if kept is not None and not options.get("claims") and not _ends_soon(kept):
                return kept
            failed, reason = self._failure
            if failed > asked:
                # Another thread has just tried, while this one waited for its turn.
                raise CredentialError(reason)
            try:
                token = self._sign_in(scopes, options)
            except CredentialError as error:
                if kept is not None and not options.get("claims") and kept.expires_on - time.time() > _STILL_GOOD:
                    return kept
                self._failure = time.monotonic(), str(error)
                raise
            keep_secret(token.token)
            self._tokens[key] = token
            return token

    def renew(self) -> None:
        """Forget all tokens and the identity; the next call reads the environment and signs in again.

        For a token that a service answers with 401 before its time, and for a secret that was rotated.
        """
        with self._lock:
            self._forget()

    def close(self) -> None:
        """Nothing is kept open; azure-core's protocol wants the call."""

    def __enter__(self) -> Credential:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _forget(self) -> None:
        self._tokens.clear()
        self._signed_in = None
        self._variables = identity_variables()

    def _sign_in(self, scopes: tuple[str, ...], options: TokenRequestOptions) -> AccessTokenInfo:
        end = time.monotonic() + SIGN_IN_SECONDS
        before = self._signed_in
        tried = []
        for identity in (before[0],) if before else IDENTITIES:
            reason = identity.lacks()
            if not reason:
                seconds = min(identity.seconds, end - time.monotonic())
                known = before[1] if before else None
                try:
                    credential, token = within(seconds, partial(self._ask, identity, known, scopes, options))
                except TimeoutError:
                    reason = f"no answer within {seconds:.0f} s"
                except Exception as error:
                    reason = explain_sign_in_error(error, self.cloud)
                else:
                    self._signed_in = identity, credential
                    return token
                if identity.decisive or before:
                    # Without its cause, whose text is not ours and might say too much.
                    raise CredentialError(
                        f"Could not sign in to Azure ({self.cloud.name}) by the {identity.name}: {reason}."
                    ) from None
            tried.append(f"{identity.name}: {reason}")
        raise CredentialError(
            f"There is no identity to sign in to Azure ({self.cloud.name}) with. Tried, in this order:\n  "
            + "\n  ".join(tried)
            + "\nOn Databricks set the parameter service_credential or secret_scope, or"
            f" {TENANT_ID}, {CLIENT_ID} and {CLIENT_SECRET} in the cluster's environment; on your own machine set"
            " these, or run `az login`."
        )

    def _ask(
        self,
        identity: Identity,
        known: SupportsTokenInfo | None,
        scopes: tuple[str, ...],
        options: TokenRequestOptions,
    ) -> tuple[SupportsTokenInfo, AccessTokenInfo]:
        credential = known or identity.build(self.cloud)
        return credential, credential.get_token_info(*scopes, options=options)


_credentials: dict[Cloud, Credential] = {}
_lock = threading.Lock()


def credential_for(cloud: Cloud) -> Credential:
    """Return this process's credential for a cloud, always the same one; nothing is asked before its first token."""
    with _lock:
        return _credentials.setdefault(cloud, Credential(cloud))


def sign_in_by(*, service_credential: str = "", secret_scope: str = "") -> None:
    """Choose who signs in: a service credential of Unity Catalog, or else the principal in a Databricks secret scope.

    With both empty, nothing changes. A service credential holds in this process and its threads, for what signs in from
    now on; the processes that it starts and Spark's workers have no part in it.

    Raises
    ------
    EnvironmentNotReadyError
        Not on Databricks, or what was named is not there or may not be used.
    """
    if service_credential:
        use_service_credential(service_credential, runtime.service_credential(service_credential))
    elif secret_scope:
        use_service_credential("", None)
        sign_in_from(secret_scope)


def sign_in_from(secret_scope: str) -> None:
    """Take the service principal from a Databricks secret scope.

    The scope holds three secrets: ``azure-tenant-id``, ``azure-client-id`` and ``azure-client-secret`` (names that a
    scope backed by Azure Key Vault can have too). They become ``AZURE_TENANT_ID``, ``AZURE_CLIENT_ID`` and
    ``AZURE_CLIENT_SECRET`` of this process, the variables that Microsoft documents for MLflow with Azure ML, so that
    the processes it starts share them. Spark's workers run elsewhere: for code of theirs that calls Azure ML, set the
    variables in the cluster's configuration, as ``AZURE_CLIENT_SECRET={{secrets/<scope>/azure-client-secret}}``.

    Raises
    ------
    EnvironmentNotReadyError
        Not on Databricks, or a secret is not there or may not be read.
    """
    variables = (TENANT_ID, CLIENT_ID, CLIENT_SECRET)
    # All are read before the first is set: half a service principal would be worse than none.
    secrets = [runtime.secret(secret_scope, name.lower().replace("_", "-")) for name in variables]
    os.environ.update(zip(variables, secrets, strict=True))


def _ends_soon(token: AccessTokenInfo) -> bool:
    now = time.time()
    return token.expires_on - now < _RENEWED_BEFORE or (token.refresh_on is not None and token.refresh_on <= now)
