"""The tests' clients: httpx that checks every answer of the API against the contract."""

from __future__ import annotations

from typing import Any

import httpx

from tests.support.patience import LONG
from tests.support.schema_check import check_answer
from tests.support.transport import loopback_client


async def check(response: httpx.Response) -> None:
    """A hook of an asynchronous client. Raises AssertionError when the answer is not as documented."""
    if response.request.url.path.startswith("/store/"):
        return  # the store speaks S3
    await response.aread()
    check_read(response)


def check_read(response: httpx.Response) -> None:
    """As `check`, for an answer whose body is read."""
    check_answer(
        response.request.method,
        response.request.url.path,
        response.status_code,
        response.headers.multi_items(),
        response.content,
        response.request.url.query.decode(),
    )


def still_runs(answer: httpx.Response) -> bool:
    """Whether an earlier request with the same Idempotency-Key holds it: the request is to be repeated."""
    return answer.status_code == 409 and "idempotency_key_in_use" in answer.text


CHECKED: Any = {"response": [check]}


def api_client(url: str = "", timeout: float = LONG) -> httpx.AsyncClient:
    """A client of a running server; without `url`, of any on this machine. Close it."""
    return loopback_client(url, timeout=timeout, event_hooks=CHECKED)
