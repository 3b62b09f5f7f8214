"""What a request that is not signed can do to the verifier."""

import tracemalloc

import pytest

from lapel.embedded.s3.protocol.request import Request
from lapel.embedded.s3.protocol.signature import Verifier
from lapel.embedded.s3.s3_errors import S3Error
from lapel.foundation.core.asgi import Message
from lapel.foundation.core.clock import SystemClock


def test_long_dates_do_not_stay_in_memory() -> None:
    verifier = Verifier({"AKIDTEST": "secret"}, "us-east-1", SystemClock())
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(100):
            with pytest.raises(S3Error, match="The date is not"):
                verifier.verify(_request(f"{number}".rjust(50_000, "0")))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1_000_000


async def _receive() -> Message:
    raise NotImplementedError


async def _send(message: Message) -> None:
    raise NotImplementedError


def _request(date: str) -> Request:
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDTEST%2F20261129%2Fus-east-1%2Fs3%2Faws4_request"
        f"&X-Amz-Date={date}&X-Amz-Expires=600&X-Amz-SignedHeaders=host&X-Amz-Signature={'0' * 64}"
    )
    scope = {
        "method": "GET",
        "path": "/recordings/key",
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost")],
    }
    request = Request(scope, _receive, _send, "0")
    request.read_target(b"")
    return request
