"""Post requests to an endpoint somewhere else: signed, and asked again where it is busy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from adbazureml.deployment.scoring_client import ask

Authorize: TypeAlias = Callable[[requests.PreparedRequest], requests.PreparedRequest]

_BUSY = (429, 503)
_RETRIES = 3


def bearer(key: str) -> Authorize:
    """Sign requests by a key or a token."""

    # As an auth function, not as a header: requests would replace a header by what ~/.netrc says of the host.
    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {key}"
        return request

    return sign


def signed_session(authorize: Authorize) -> requests.Session:
    """A connection whose requests are signed, and sent once."""
    session = requests.Session()
    session.auth = authorize
    return session


def post(url: str, payload: Mapping[str, Any], *, authorize: Authorize, timeout: float) -> Any:
    """Post a request of the scoring protocol and return the predictions.

    Parameters
    ----------
    url : str
        Where to post.
    payload : mapping
        What to post, as JSON.
    authorize : callable
        Signs the request.
    timeout : float
        Seconds in which the answer must come.

    Raises
    ------
    DeploymentError
        As `scoring.ask`.
    """
    # An answer that takes too long is told as that, not waited for again.
    retry = Retry(total=_RETRIES, read=False, status_forcelist=_BUSY, allowed_methods=None, raise_on_status=False)
    with signed_session(authorize) as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        return ask(session, url, payload, timeout=timeout)
