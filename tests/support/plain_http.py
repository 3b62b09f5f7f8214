"""httpx for plain HTTP, with a new connection for each call. Answers of the API are checked.

`httpx.get` also makes a TLS context, which takes most of its time.
"""

from __future__ import annotations

import ssl

import httpx

from tests.support.client import check_read
from tests.support.patience import LONG

_OF_THE_API = ("/v1/", "/health", "/metrics")  # other paths are the store's, or pages


def _check(response: httpx.Response) -> None:
    if response.request.url.path.startswith(_OF_THE_API):
        response.read()
        check_read(response)


http = httpx.Client(
    timeout=LONG,
    verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    limits=httpx.Limits(max_keepalive_connections=0),
    event_hooks={"response": [_check]},
)
