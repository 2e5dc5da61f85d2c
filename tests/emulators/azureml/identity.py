"""Microsoft Entra ID, as azure-identity asks it: tokens for a client secret, a managed identity, a device code."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from .messages import Answer, Call, Problem, Service, json_answer

# MSAL asks a directory of this name for its addresses directly; any other it would first look up at Microsoft's.
TENANT = "adfs"
LIFETIME = 3600
# What tokens for online endpoints are of.
ENDPOINTS = "https://ml.azure.com"
CLIENT_CREDENTIALS = "client_credentials"
DEVICE_CODE = "device_code"


class Identity(Service):
    """Gives out tokens, and knows which of them are still good.

    Attributes:
        tenant_id, client_id, client_secret: the service principal that may sign in.
        identity_header: what a managed identity's caller shows.
        given_out: every secret and token so far.
    """

    name = "identity"

    def __init__(self, url: str) -> None:
        self.url = url
        self.tenant_id = TENANT
        self.client_id = str(uuid.uuid4())
        self.client_secret = _secret()
        self.identity_header = _secret()
        self.given_out = {self.client_secret, self.identity_header}
        self._valid: set[str] = set()
        self._expired: set[str] = set()
        self._audiences: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def scope(self) -> str:
        """What a token is asked for: Azure Resource Manager of this cloud."""
        return f"{self.url}/.default"

    def rotate_secret(self, new: str | None = None) -> str:
        """From now on only ``new``, a random one by default, signs in; tokens stay as they are."""
        self.client_secret = new or _secret()
        self.given_out.add(self.client_secret)
        return self.client_secret

    def expire_tokens(self) -> None:
        with self._lock:
            self._expired |= self._valid
            self._valid.clear()

    def issue(self, audience: str = "") -> str:
        """A token that looks like a JWT, as some clients read its expiry; by default for Azure Resource Manager."""
        now = int(time.time())
        claims = {
            "aud": audience or self.url,
            "appid": self.client_id,
            "iat": now,
            "exp": now + LIFETIME,
            "uti": _secret(),
        }
        token = ".".join((_encoded({"alg": "RS256", "typ": "JWT"}), _encoded(claims), secrets.token_urlsafe(64)))
        with self._lock:
            self._valid.add(token)
            self.given_out.add(token)
            if audience:
                self._audiences[token] = audience
        return token

    def check(self, headers: Mapping[str, str], audience: str = "") -> None:
        """Raises `Problem` 401 unless the call shows a token that is good, for this audience."""
        scheme, _, token = (headers.get("Authorization") or "").partition(" ")
        if scheme != "Bearer" or not token:
            raise _unauthorized("AuthenticationFailed", "Bearer token not provided.")
        with self._lock:
            if token in self._expired:
                raise _unauthorized("ExpiredAuthenticationToken", "Bearer token expired.")
            if token not in self._valid or self._audiences.get(token, "") != audience:
                raise _unauthorized("InvalidAuthenticationToken", "The access token is invalid.")

    def answer(self, call: Call) -> Answer:
        routes = {
            ("GET", f"/{TENANT}/.well-known/openid-configuration"): self._addresses,
            ("POST", f"/{TENANT}/oauth2/token"): self._token,
            ("POST", f"/{TENANT}/oauth2/devicecode"): self._device_code,
            ("GET", "/msi/token"): self._managed_identity_token,
        }
        route = routes.get((call.method, call.path))
        if route is None:
            raise Problem(404, "invalid_request", f"AADSTS900144: {call.path} is not known here.")
        return json_answer(route(call))

    def refusal(self, problem: Problem) -> Answer:
        body = {"error": problem.code, "error_description": problem.message, "correlation_id": str(uuid.uuid4())}
        return json_answer(body, problem.status, problem.headers)

    def _addresses(self, _: Call) -> dict[str, Any]:
        base = f"{self.url}/{TENANT}"
        return {
            "issuer": base,
            "authorization_endpoint": f"{base}/oauth2/authorize",
            "token_endpoint": f"{base}/oauth2/token",
            "device_authorization_endpoint": f"{base}/oauth2/devicecode",
        }

    def _token(self, call: Call) -> dict[str, Any]:
        asked = {name: values[-1] for name, values in parse_qs(call.content.decode()).items()}
        grant = asked.get("grant_type", "")
        if grant.endswith(DEVICE_CODE):
            raise Problem(400, "authorization_pending", "AADSTS70016: The user has not signed in yet.")
        if grant != CLIENT_CREDENTIALS:
            raise Problem(400, "unsupported_grant_type", f"AADSTS70003: The grant type '{grant}' is not supported.")
        if asked.get("client_id") != self.client_id:
            message = f"AADSTS700016: Application with identifier '{asked.get('client_id')}' was not found."
            raise Problem(400, "unauthorized_client", message)
        if asked.get("client_secret") != self.client_secret:
            message = (
                "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the "
                f"client secret value, not the client secret ID, for a secret added to app '{self.client_id}'."
            )
            raise Problem(401, "invalid_client", message)
        audiences = {self.scope: "", f"{ENDPOINTS}/.default": ENDPOINTS}
        known = [audiences[scope] for scope in asked.get("scope", "").split() if scope in audiences]
        if not known:
            raise Problem(400, "invalid_scope", f"AADSTS70011: The scope {asked.get('scope')} is not valid.")
        return {"token_type": "Bearer", "expires_in": LIFETIME, "access_token": self.issue(known[0])}

    def _device_code(self, _: Call) -> dict[str, Any]:
        return {
            "device_code": _secret(),
            "user_code": "ABCD1234",
            "verification_uri": f"{self.url}/device",
            "expires_in": 900,
            "interval": 5,
            "message": f"To sign in, open {self.url}/device and enter the code ABCD1234.",
        }

    def _managed_identity_token(self, call: Call) -> dict[str, Any]:
        if call.headers.get("X-IDENTITY-HEADER") != self.identity_header:
            raise Problem(401, "invalid_request", "The identity header is missing or wrong.")
        if call.query.get("resource", "").rstrip("/") != self.url:
            raise Problem(400, "invalid_resource", f"AADSTS500011: {call.query.get('resource')} was not found.")
        return {
            "access_token": self.issue(),
            "expires_on": str(int(time.time()) + LIFETIME),
            "resource": call.query["resource"],
            "token_type": "Bearer",
            "client_id": str(uuid.uuid4()),
        }


def _secret() -> str:
    return secrets.token_urlsafe(30)


def _encoded(part: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def _unauthorized(code: str, message: str) -> Problem:
    return Problem(401, code, message, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
