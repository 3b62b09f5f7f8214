"""What a request that is not signed can do to the verifier."""

import tracemalloc
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from string import ascii_letters
from urllib.parse import urlsplit

import pytest

from lapel.embedded.s3.protocol.request import Request
from lapel.embedded.s3.protocol.signature import Signed, Verifier
from lapel.embedded.s3.s3_errors import S3Error
from lapel.foundation.core.asgi import Message
from lapel.foundation.core.clock import ManualClock, SystemClock
from lapel.foundation.storage.credentials import Credentials, StaticCredentials
from lapel.foundation.storage.presign import Presigner

SIGNER = Presigner(
    "http://localhost",
    region="us-east-1",
    bucket="recordings",
    credentials=StaticCredentials(Credentials("AKIDTEST", "secret")),
)


def test_long_dates_do_not_stay_in_memory() -> None:
    verifier = Verifier({"AKIDTEST": "secret"}, "us-east-1", SystemClock())
    with _staying_below(1_000_000):
        for number in range(100):
            with pytest.raises(S3Error, match="The date is not"):
                _verify(verifier, _request(f"{number}".rjust(50_000, "0")))


@contextmanager
def _staying_below(most: int) -> Generator[None]:
    """The block leaves less than `most` bytes in memory."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < most


async def _receive() -> Message:
    raise NotImplementedError


async def _send(message: Message) -> None:
    raise NotImplementedError


_SCOPE = "20261129%2Fus-east-1%2Fs3%2Faws4_request"
_LINK = (
    f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F{_SCOPE}"
    "&X-Amz-Date=20261129T000000Z&X-Amz-Expires=9"
)


@pytest.mark.parametrize(
    ("start", "part"),
    [
        ("a=", "&{}"),
        (f"{_LINK}&X-Amz-SignedHeaders=host", "&{}"),
        (f"{_LINK}&X-Amz-SignedHeaders=host", ";i{}"),
    ],
)
def test_unsigned_queries_take_little_memory(start: str, part: str) -> None:
    """A query is parsed, and kept, before its signature is verified."""
    verifier = Verifier({"AKIDTEST": "secret"}, "us-east-1", SystemClock())
    names = sorted("".join(pair) for pair in product(ascii_letters, repeat=2))
    room = (1020 - len(start)) // len(part.format("ab"))

    def ask(first: int) -> None:
        query = start + "".join(part.format(name) for name in names[first : first + room])
        with pytest.raises(S3Error):
            _verify(verifier, _request_for(f"{query}&X-Amz-Signature={'0' * 64}"))

    ask(0)
    with _staying_below(3_000_000):
        for first in range(1, 201):
            ask(first)


def _request(date: str) -> Request:
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDTEST%2F20261129%2Fus-east-1%2Fs3%2Faws4_request"
        f"&X-Amz-Date={date}&X-Amz-Expires=600&X-Amz-SignedHeaders=host&X-Amz-Signature={'0' * 64}"
    )
    return _request_for(query)


def _request_for(
    query: str,
    *,
    path: str = "/recordings/key",
    host: str = "localhost",
    method: str = "GET",
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Request:
    scope = {
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"host", host.encode()), *headers],
    }
    return Request(scope, _receive, _send, "0")


def _verify(verifier: Verifier, request: Request) -> Signed:
    """As the endpoint does it."""
    signed = verifier.recall(request)
    if signed is None:
        request.read_target(b"")
        signed = verifier.verify(request)
    return signed


def test_a_link_that_was_verified_is_verified_again() -> None:
    """A used link is kept, and neither another link nor another time is taken for it."""
    clock = ManualClock(datetime(2026, 11, 29, tzinfo=UTC))
    verifier = Verifier({"AKIDTEST": "secret"}, "us-east-1", clock)
    link = urlsplit(SIGNER.get_url("key", now=clock.now(), expires_in=60))
    right = link.query

    def verify(query: str, *, path: str = link.path, host: str = "localhost", method: str = "GET") -> None:
        _verify(verifier, _request_for(query, path=path, host=host, method=method))

    wrong = right[:-1] + ("1" if right[-1] == "0" else "0")
    for _ in range(2):
        verify(right)
        with pytest.raises(S3Error, match="does not match"):
            verify(wrong)
        with pytest.raises(S3Error, match="does not match"):
            verify(right, path="/recordings/other")
        with pytest.raises(S3Error, match="does not match"):
            verify(right, host="elsewhere")
        with pytest.raises(S3Error, match="The link was signed for GET"):
            verify(right, method="PUT")
        with pytest.raises(S3Error, match="does not match"):
            verify(right.replace("X-Amz-Expires=60", "X-Amz-Expires=90"))
    clock.advance(timedelta(seconds=61))
    with pytest.raises(S3Error, match="expired"):
        verify(right)
    clock.advance(timedelta(hours=-1))
    with pytest.raises(S3Error, match="not yet valid"):
        verify(right)


def test_a_used_link_is_neither_parsed_nor_signed_again() -> None:
    clock = ManualClock(datetime(2026, 11, 29, tzinfo=UTC))
    verifier = Verifier({"AKIDTEST": "secret"}, "us-east-1", clock)
    link = urlsplit(SIGNER.get_url("a key", now=clock.now(), expires_in=60))
    first, second = (_request_for(link.query, path=link.path) for _ in range(2))
    assert verifier.recall(first) is None
    signed = _verify(verifier, first)
    assert verifier.recall(second) is signed
    assert second.target is first.target
    assert second.target.key_bytes == b"a key"
    ranged = _request_for(link.query, path=link.path, headers=((b"range", b"bytes=0-9"),))
    assert verifier.recall(ranged) is signed


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        (b"authorization", "Only one signature"),
        (b"x-amz-date", "must be signed"),
        (b"x-amz-content-sha256", "must be signed"),
        (b"x-amz-copy-source", "must be signed"),
    ],
)
def test_a_used_link_with_one_more_header_is_refused_as_before(name: bytes, refusal: str) -> None:
    clock = ManualClock(datetime(2026, 11, 29, tzinfo=UTC))
    verifier = Verifier({"AKIDTEST": "secret"}, "us-east-1", clock)
    link = urlsplit(SIGNER.get_url("key", now=clock.now(), expires_in=60))
    _verify(verifier, _request_for(link.query, path=link.path))
    with pytest.raises(S3Error, match=refusal):
        _verify(verifier, _request_for(link.query, path=link.path, headers=((name, b"1"),)))


def test_a_link_for_an_empty_host_is_none_for_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SIGNER, "_host", "")
    clock = ManualClock(datetime(2026, 11, 29, tzinfo=UTC))
    verifier = Verifier({"AKIDTEST": "secret"}, "us-east-1", clock)
    link = urlsplit(SIGNER.get_url("key", now=clock.now(), expires_in=60))
    _verify(verifier, _request_for(link.query, path=link.path, host=""))
    without = _request_for(link.query, path=link.path)
    del without.headers[b"host"]
    with pytest.raises(S3Error, match="The signed header host was not sent"):
        _verify(verifier, without)


def test_a_link_that_signs_more_than_the_host_is_not_kept() -> None:
    """Its other headers are compared each time."""
    clock = ManualClock(datetime(2026, 11, 29, tzinfo=UTC))
    verifier = Verifier({"AKIDTEST": "secret"}, "us-east-1", clock)
    made = SIGNER.put_url("key", now=clock.now(), expires_in=60, content_type="audio/ogg", content_length=9)
    link = urlsplit(made.url)

    def put(kind: bytes) -> Request:
        headers = ((b"content-type", kind), (b"content-length", b"9"))
        return _request_for(link.query, path=link.path, method="PUT", headers=headers)

    _verify(verifier, put(b"audio/ogg"))
    assert verifier.recall(put(b"audio/ogg")) is None
    with pytest.raises(S3Error, match="does not match"):
        _verify(verifier, put(b"text/html"))


def test_few_used_links_are_kept() -> None:
    clock = ManualClock(datetime(2026, 11, 29, tzinfo=UTC))
    verifier = Verifier({"AKIDTEST": "secret"}, "us-east-1", clock)

    def verify_many(keys: range) -> None:
        for key in keys:
            link = urlsplit(SIGNER.get_url(f"{key}", now=clock.now(), expires_in=60))
            _verify(verifier, _request_for(link.query, path=link.path))

    verify_many(range(300))
    with _staying_below(1_000_000):
        verify_many(range(300, 3000))
