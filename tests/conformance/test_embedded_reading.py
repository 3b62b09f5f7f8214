"""How our own store reads: conditions and ranges to the letter of RFC 9110, and web pages."""

import time
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest

from tests.conformance.servers import BUCKET, Endpoint, embedded, now
from tests.support.patience import LONG
from tests.support.plain_http import http

BODY = b"0123456789"
ANYBODY = {"Origin": "https://anybody.example.org"}
PREFLIGHT = {
    **ANYBODY,
    "Access-Control-Request-Method": "PUT",
    "Access-Control-Request-Headers": "Content-Type,x-amz-checksum-sha256",
}


@pytest.fixture
def link(ours: Endpoint, key: str) -> str:
    ours.client().put_object(Bucket=BUCKET, Key=key, Body=BODY, ContentType="audio/ogg")
    return ours.signer().get_url(key, now=now(), expires_in=60)


@pytest.mark.parametrize(
    "header",
    [
        "bytes=0-1,3-4",
        "bytes=5-3",
        "bytes=-",
        "bytes=a-b",
        "lines=1-2",
        "bytes 1-2",
        "bytes=1-2-3",
        "",
        "bytes=+1-2",
    ],
)
def test_a_range_that_is_none_gives_the_whole(link: str, header: str) -> None:
    answer = http.get(link, headers={"Range": header})
    assert (answer.status_code, answer.content) == (200, BODY)
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-11", "bytes=-0", f"bytes={10**17}-"])
def test_a_range_behind_the_end_says_where_the_end_is(link: str, header: str) -> None:
    answer = http.get(link, headers={"Range": header})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */10")


def test_a_range_of_an_empty_object(ours: Endpoint, key: str) -> None:
    ours.client().put_object(Bucket=BUCKET, Key=key, Body=b"")
    link = ours.signer().get_url(key, now=now(), expires_in=60)
    assert http.get(link, headers={"Range": "bytes=0-"}).status_code == 416
    assert http.get(link).content == b""


def test_if_range(link: str) -> None:
    etag = http.get(link).headers["etag"]
    part = {"Range": "bytes=2-3"}
    assert http.get(link, headers={**part, "If-Range": etag}).content == b"23"
    assert http.get(link, headers={**part, "If-Range": '"other"'}).content == BODY


def test_conditions_on_time(link: str) -> None:
    past, future = (format_datetime(now() + timedelta(hours=h), usegmt=True) for h in (-1, 1))
    last = http.get(link).headers["last-modified"]
    for header, value, status in (
        ("If-Modified-Since", past, 200),
        ("If-Modified-Since", future, 304),
        ("If-Modified-Since", last, 304),
        ("If-Unmodified-Since", past, 412),
        ("If-Unmodified-Since", last, 200),
        ("If-Modified-Since", "yesterday", 200),
    ):
        answer = http.get(link, headers={header: value})
        assert (header, value, answer.status_code) == (header, value, status)
        assert answer.content == (BODY if status == 200 else b"") or status == 412


def test_etags_win_over_times_and_lists_are_read(link: str) -> None:
    etag = http.get(link).headers["etag"]
    future = format_datetime(now() + timedelta(hours=1), usegmt=True)
    both = {"If-None-Match": '"other"', "If-Modified-Since": future}
    assert http.get(link, headers=both).status_code == 200
    assert http.get(link, headers={"If-None-Match": f'"a", W/{etag}'}).status_code == 304
    assert http.get(link, headers={"If-None-Match": "*"}).status_code == 304
    assert http.get(link, headers={"If-Match": "*"}).status_code == 200


def test_a_304_has_no_body_and_keeps_the_connection(link: str) -> None:
    with httpx.Client(timeout=LONG) as client:
        etag = client.get(link).headers["etag"]
        answer = client.get(link, headers={"If-None-Match": etag})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
        assert client.get(link).content == BODY


@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD"])
def test_a_page_that_asks_first_may_do_what_links_are_for(ours: Endpoint, key: str, method: str) -> None:
    asking = {**PREFLIGHT, "Access-Control-Request-Method": method}
    answer = http.options(f"{ours.url}/{BUCKET}/{key}", headers=asking)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert method in answer.headers["access-control-allow-methods"].split(", ")


def test_without_rules_any_page_may_use_a_link(ours: Endpoint, link: str, key: str) -> None:
    asked = http.options(f"{ours.url}/{BUCKET}/{key}", headers=PREFLIGHT)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == "*"
    assert "PUT" in asked.headers["access-control-allow-methods"]
    assert asked.headers["access-control-allow-headers"] == "content-type, x-amz-checksum-sha256"
    assert int(asked.headers["access-control-max-age"]) > 0
    read = http.get(link, headers=ANYBODY)
    assert read.headers["access-control-allow-origin"] == "*"
    assert "ETag" in read.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in read.headers
    refused = http.get(link + "0", headers=ANYBODY)  # the page may read why
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (403, "*")


@pytest.mark.parametrize(
    "change",
    [
        {"Access-Control-Request-Method": "DELETE"},
        {"Access-Control-Request-Method": "PATCH"},
        {"Access-Control-Request-Headers": "authorization"},
    ],
)
def test_a_page_may_not_do_more(ours: Endpoint, change: dict[str, str]) -> None:
    answer = http.options(f"{ours.url}/{BUCKET}/x", headers={**PREFLIGHT, **change})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_rules_hold_in_every_process_at_once(tmp_path: Path) -> None:
    rules = [
        {"AllowedOrigins": ["https://*.example.org"], "AllowedMethods": ["PUT"], "AllowedHeaders": ["*"]}
    ]
    with embedded(tmp_path) as first, embedded(tmp_path) as second:
        target = f"{second.url}/{BUCKET}/x"
        assert http.options(target, headers=PREFLIGHT).headers["access-control-allow-origin"] == "*"
        first.client().put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": rules})
        answer = http.options(target, headers=PREFLIGHT)
        assert answer.headers["access-control-allow-origin"] == ANYBODY["Origin"]
        assert answer.headers["vary"] == "Origin"
        stranger = {**PREFLIGHT, "Origin": "https://example.org.evil.com"}
        assert http.options(target, headers=stranger).status_code == 403
        first.client().delete_bucket_cors(Bucket=BUCKET)
        assert http.options(target, headers=stranger).status_code == 200


def test_an_object_that_is_read_again_and_again_is_the_one_of_the_folder(tmp_path: Path) -> None:
    """A process keeps small objects that it read, but never answers one that another process replaced."""
    with embedded(tmp_path) as reading, embedded(tmp_path) as writing:
        client = writing.client()
        link = reading.signer().get_url("object", now=now(), expires_in=60)
        client.put_object(Bucket=BUCKET, Key="object", Body=BODY)
        time.sleep(2.1)  # a file that was just written is not kept
        for _ in range(3):
            assert http.get(link).content == BODY
        assert http.get(f"{link[:-1]}{'1' if link[-1] == '0' else '0'}").status_code == 403
        for body in (BODY[::-1], BODY, b""):
            client.put_object(Bucket=BUCKET, Key="object", Body=body)
            for _ in range(2):
                assert http.get(link).content == body
        client.delete_object(Bucket=BUCKET, Key="object")
        assert http.get(link).status_code == 404


def test_an_options_request_that_is_no_preflight(ours: Endpoint) -> None:
    assert http.options(f"{ours.url}/{BUCKET}/x").status_code == 403
    assert http.options(f"{ours.url}/no-such/x", headers={"Origin": "https://a.example"}).status_code == 403
