"""httpx for plain HTTP, with a new connection for each call.

`httpx.get` also makes a TLS context, which takes most of its time.
"""

from __future__ import annotations

import ssl

import httpx

http = httpx.Client(
    verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), limits=httpx.Limits(max_keepalive_connections=0)
)
