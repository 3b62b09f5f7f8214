"""Our links are botocore's links, byte for byte."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import botocore.auth
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.session import Session
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.foundation.storage.credentials import Credentials, StaticCredentials
from lapel.foundation.storage.presign import Presigner

ENDPOINTS = [
    "http://127.0.0.1:9000",
    "https://s3.eu-west-1.amazonaws.com",
    "https://files.example.org",
    "https://files.example.org:443",
    "http://files.example.org:80",
    "https://files.example.org:8443",
    "http://localhost:8080/store",
    "https://api.example.org/a/deeper-prefix/",
    "http://[::1]:9000",
]
SURROGATES = st.characters(exclude_categories=["Cs"])
keys = st.one_of(
    st.text(st.sampled_from("abzAZ019/._-~ +&=%?#'\"();:@,$!*éß語🎧"), min_size=1, max_size=80),
    st.text(SURROGATES, min_size=1, max_size=60),
)
# botocore itself cannot put a newline or a NUL into a header, but in a query it can
overrides = st.one_of(st.none(), st.text(SURROGATES, min_size=1, max_size=60))
moments = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - hypothesis wants naive bounds and adds the zone
    max_value=datetime(2099, 12, 31),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(-timedelta(hours=7, minutes=30))]),
)
lives = st.integers(1, 604_800)
tokens = st.one_of(st.none(), st.text(st.sampled_from("abcXYZ0189+/=-_ "), min_size=1, max_size=200))
secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)
content_types = st.sampled_from(
    ["audio/ogg", "audio/ogg; codecs=opus", "video/mp4", "image/jpeg", "a/b;  c=d"]
)


@pytest.fixture(scope="module")
def at() -> Iterator[Callable[[datetime], None]]:
    """Set botocore's clock: it has no argument for it."""
    with pytest.MonkeyPatch.context() as patch:

        def set_clock(now: datetime) -> None:
            naive = now.astimezone(UTC).replace(tzinfo=None)
            patch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: naive)

        yield set_clock


class Pair:
    """Our signer and botocore's client for the same account, endpoint and style."""

    def __init__(self, endpoint: str, addressing: Any) -> None:
        self.session = Session()
        self.client: Any = self.session.create_client(
            "s3",
            region_name="eu-west-1",
            endpoint_url=endpoint,
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(signature_version="s3v4", s3={"addressing_style": addressing}),
        )
        self.endpoint, self.addressing = endpoint, addressing

    def use(self, credentials: Credentials) -> Presigner:
        # botocore's signer and client hold the same credentials object
        theirs = self.client._request_signer._credentials
        theirs.access_key = credentials.access_key_id
        theirs.secret_key = credentials.secret_access_key
        theirs.token = credentials.session_token
        return Presigner(
            self.endpoint,
            region="eu-west-1",
            bucket="recordings",
            credentials=StaticCredentials(credentials),
            addressing=self.addressing,
        )


STYLES = [
    (endpoint, style)
    for endpoint in ENDPOINTS
    for style in ("path", "virtual")
    # botocore falls back to path style where a bucket cannot be part of the host
    if style == "path" or ("127.0.0.1" not in endpoint and "[" not in endpoint)
]


@pytest.fixture(scope="module", params=STYLES, ids=lambda p: f"{p[1]}-{p[0]}")
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(*request.param)


@settings(max_examples=40, deadline=None)
@given(
    key=keys,
    content_type=overrides,
    disposition=overrides,
    now=moments,
    life=lives,
    token=tokens,
    secret=secrets,
)
def test_get_links_equal_botocore(
    pair: Pair,
    at: Callable[[datetime], None],
    key: str,
    content_type: str | None,
    disposition: str | None,
    now: datetime,
    life: int,
    token: str | None,
    secret: str,
) -> None:
    ours = pair.use(Credentials("AKIDEXAMPLE/+", secret, token))
    at(now)
    params = {"Bucket": "recordings", "Key": key}
    if disposition is not None:
        params["ResponseContentDisposition"] = disposition
    if content_type is not None:
        params["ResponseContentType"] = content_type
    assert ours.get_url(
        key,
        now=now,
        expires_in=life,
        response_content_type=content_type,
        response_content_disposition=disposition,
    ) == pair.client.generate_presigned_url("get_object", Params=params, ExpiresIn=life)


@settings(max_examples=25, deadline=None)
@given(
    key=keys,
    content_type=content_types,
    length=st.one_of(st.none(), st.integers(0, 5 << 30)),
    digest=st.one_of(st.none(), st.binary(min_size=32, max_size=32)),
    now=moments,
    life=lives,
    token=tokens,
)
def test_put_links_equal_botocore(
    pair: Pair,
    at: Callable[[datetime], None],
    key: str,
    content_type: str,
    length: int | None,
    digest: bytes | None,
    now: datetime,
    life: int,
    token: str | None,
) -> None:
    """Through botocore's query signer itself: its client does not sign every header set we need."""
    credentials = Credentials("AKID", "secret", token)
    ours = pair.use(credentials)
    at(now)
    put = ours.put_url(
        key,
        now=now,
        expires_in=life,
        content_type=content_type,
        content_length=length,
        sha256=None if digest is None else digest.hex(),
    )
    headers = {"Content-Type": content_type}
    if length is not None:
        headers["Content-Length"] = str(length)
    if digest is not None:
        headers["x-amz-checksum-sha256"] = b64encode(digest).decode()
    request = AWSRequest("PUT", put.url.partition("?")[0], headers=headers)
    request.context["signing"] = {}
    S3SigV4QueryAuth(BotocoreCredentials("AKID", "secret", token), "s3", "eu-west-1", expires=life).add_auth(
        request
    )
    assert put.url == request.url
    expected = dict(headers, **{"Content-Type": " ".join(content_type.split())})
    expected.pop("Content-Length", None)
    assert put.headers == expected


@settings(max_examples=15, deadline=None)
@given(key=keys, content_type=content_types, now=moments, life=lives, token=tokens)
def test_plain_put_links_equal_botocore_client(
    pair: Pair,
    at: Callable[[datetime], None],
    key: str,
    content_type: str,
    now: datetime,
    life: int,
    token: str | None,
) -> None:
    ours = pair.use(Credentials("AKID", "secret", token))
    at(now)
    params = {"Bucket": "recordings", "Key": key, "ContentType": content_type}
    assert ours.put_url(
        key, now=now, expires_in=life, content_type=content_type
    ).url == pair.client.generate_presigned_url("put_object", Params=params, ExpiresIn=life)


def signer(credentials: Credentials | None = None) -> Presigner:
    return Presigner(
        "http://127.0.0.1:9000",
        region="us-east-1",
        bucket="b",
        credentials=StaticCredentials(credentials or Credentials("AKID", "secret")),
    )


NOW = datetime(2026, 1, 15, 12, 0, 0, 999_999, tzinfo=UTC)


@settings(max_examples=20, deadline=None)
@given(
    method=st.sampled_from(["GET", "PUT"]),
    key=keys,
    body=st.one_of(st.none(), st.binary()),
    now=moments,
    token=tokens.filter(lambda token: " " not in (token or "")),  # a header has no spaces at its ends
    secret=secrets,
)
def test_signed_requests_equal_botocore(
    pair: Pair,
    at: Callable[[datetime], None],
    method: str,
    key: str,
    body: bytes | None,
    now: datetime,
    token: str | None,
    secret: str,
) -> None:
    ours = pair.use(Credentials("AKIDEXAMPLE", secret, token))
    digest = None if body is None else sha256(body).hexdigest()
    signed = ours.request(method, key, now=now, sha256=digest)
    theirs = AWSRequest(method=method, url=f"{ours.origin}{signed.target}", data=body)
    if body is not None:
        theirs.headers["x-amz-checksum-sha256"] = b64encode(sha256(body).digest()).decode()
    # Over TLS botocore leaves a body out of its signature, if it is not told otherwise.
    theirs.context["payload_signing_enabled"] = True
    at(now)
    S3SigV4Auth(BotocoreCredentials("AKIDEXAMPLE", secret, token), "s3", "eu-west-1").add_auth(theirs)
    sent = {name.lower(): value for name, value in theirs.headers.items()}
    assert {name: value for name, value in signed.headers.items() if name != "host"} == sent
    prepared = pair.client.generate_presigned_url("get_object", Params={"Bucket": "recordings", "Key": key})
    assert signed.target == urlsplit(prepared).path


@pytest.mark.parametrize("life", [0, -1, 604_801])
def test_an_impossible_life_is_refused(life: int) -> None:
    with pytest.raises(ValueError, match="604800"):
        signer().get_url("k", now=NOW, expires_in=life)


@pytest.mark.parametrize("digest", ["", "00", "zz" * 32, "00" * 33])
def test_a_hash_that_is_none_is_refused(digest: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        signer().put_url("k", now=NOW, expires_in=60, content_type="audio/ogg", sha256=digest)


@pytest.mark.parametrize("endpoint", ["ftp://h", "h:9000", "http://", "http://h/?a=b", "http://h/a%20b", ""])
def test_an_endpoint_must_be_one(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        Presigner(endpoint, region="r", bucket="b", credentials=StaticCredentials(Credentials("a", "s")))


def test_the_day_changes_at_midnight_utc_and_with_the_credentials() -> None:
    ours = signer()
    late = NOW.replace(hour=23, minute=59, second=59)
    first = ours.get_url("k", now=late, expires_in=60)
    second = ours.get_url("k", now=late + timedelta(seconds=1), expires_in=60)
    assert "20260115%2F" in first
    assert "20260116%2F" in second
    assert first == ours.get_url("k", now=late, expires_in=60)


def test_a_signer_that_kept_another_second_signs_as_a_new_one() -> None:
    ours = signer()
    for microseconds, expires_in in ((0, 60), (999_999, 60), (1_000_000, 60), (1_500_000, 61), (0, 61)):
        now = NOW + timedelta(microseconds=microseconds)
        assert ours.get_url("k", now=now, expires_in=expires_in) == signer().get_url(
            "k", now=now, expires_in=expires_in
        )
        assert ours.lifetime(now, expires_in) == signer().lifetime(now, expires_in)


def test_expiry_is_the_links_or_the_credentials() -> None:
    assert signer().lifetime(NOW, 3600).ends == datetime(2026, 1, 15, 13, 0, tzinfo=UTC)
    soon = datetime(2026, 1, 15, 12, 10, tzinfo=UTC)
    assert signer(Credentials("AKID", "secret", "token", soon)).lifetime(NOW, 3600).ends == soon


def test_secrets_do_not_show_in_a_repr() -> None:
    shown = repr(StaticCredentials(Credentials("AKID", "hush-secret", "hush-token")))
    assert "AKID" in shown
    assert "hush" not in shown


def test_an_upload_link_needs_only_what_it_names() -> None:
    digest = sha256(b"x").hexdigest()
    put = signer().put_url(
        "k", now=NOW, expires_in=60, content_type="audio/ogg", content_length=1, sha256=digest
    )
    assert set(put.headers) == {"Content-Type", "x-amz-checksum-sha256"}
    assert "X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost%3Bx-amz-checksum-sha256" in put.url
