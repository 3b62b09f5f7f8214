"""The tests' client: httpx that checks every answer of the API against the contract."""

from __future__ import annotations

import httpx

from tests.support.schema_check import check_answer
from tests.support.transport import loopback_client


async def _check(response: httpx.Response) -> None:
    if response.request.url.path.startswith("/store/"):
        return  # the store speaks S3
    await response.aread()
    check_answer(
        response.request.method,
        response.request.url.path,
        response.status_code,
        response.headers.multi_items(),
        response.content,
        response.request.url.query.decode(),
    )


def api_client(url: str) -> httpx.AsyncClient:
    """A client of a running server. Close it."""
    return loopback_client(url, timeout=30, event_hooks={"response": [_check]})
