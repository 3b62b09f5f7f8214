"""Signatures our own store must refuse, and the rarer kinds it must take."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import botocore.auth
import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError

from lapel.foundation.storage.credentials import Credentials, StaticCredentials
from lapel.foundation.storage.presign import Presigner
from tests.conformance.conftest import Curl
from tests.conformance.sending import KEYS, code_of, signed
from tests.conformance.servers import ACCESS_KEY, BUCKET, REGION, SECRET, Endpoint, now
from tests.support.plain_http import http


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_request_from_another_time_is_refused(
    ours: Endpoint, key: str, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    at(monkeypatch, minutes)
    answer = signed("PUT", f"{ours.url}/{BUCKET}/{key}", b"x")
    assert (answer.status_code, code_of(answer)) == (403, "RequestTimeTooSkewed")


@pytest.mark.parametrize("minutes", [-14, 14])
def test_clocks_may_differ_a_little(
    ours: Endpoint, key: str, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    at(monkeypatch, minutes)
    assert signed("PUT", f"{ours.url}/{BUCKET}/{key}", b"x").status_code == 200


def at(monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
    moment = (datetime.now(UTC) + timedelta(minutes=minutes)).replace(tzinfo=None)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: moment)


def test_a_link_from_the_future_is_refused(ours: Endpoint, key: str) -> None:
    ours.client().put_object(Bucket=BUCKET, Key=key, Body=b"x")
    ahead = now() + timedelta(minutes=16)
    assert http.get(ours.signer().get_url(key, now=ahead, expires_in=60)).status_code == 403
    ahead = now() + timedelta(minutes=14)
    assert http.get(ours.signer().get_url(key, now=ahead, expires_in=60)).status_code == 200


def test_a_link_for_another_region_or_with_two_signatures(ours: Endpoint, key: str) -> None:
    ours.client().put_object(Bucket=BUCKET, Key=key, Body=b"x")
    url = ours.signer(region="eu-west-1").get_url(key, now=now(), expires_in=60)
    assert http.get(url).status_code == 403
    url = ours.signer().get_url(key, now=now(), expires_in=60)
    assert http.get(url, headers={"Authorization": "AWS4-HMAC-SHA256 x"}).status_code == 400
    assert http.get(url, headers={"x-amz-meta-unsigned": "1"}).status_code == 403
    assert http.get(f"{url}&X-Amz-Expires=60").status_code == 400


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=AKIDTEST, SignedHeaders=host, Signature=0",
        "AWS AKIDTEST:c2ln",
        "Bearer sk_live_x",
        "Basic QUtJRFRFU1Q6dGVzdC1zZWNyZXQ=",
        "AWS4-HMAC-SHA256 Credential=AKIDTEST/20260115/us-east-1/s3/aws4_request, SignedHeaders=, Signature="
        + "0" * 64,
    ],
)
def test_other_authorizations_are_refused(ours: Endpoint, authorization: str) -> None:
    answer = http.get(f"{ours.url}/{BUCKET}/x", headers={"Authorization": authorization})
    assert answer.status_code in {400, 403}


def test_what_was_signed_must_be_enough(ours: Endpoint) -> None:
    """A signature that leaves out the host, or an x-amz header that is sent, is none."""
    url = f"{ours.url}/{BUCKET}/x"
    request = AWSRequest("PUT", url, headers={}, data=b"x")
    request.context["signing"] = {}
    S3SigV4Auth(KEYS, "s3", REGION).add_auth(request)
    headers = dict(request.headers.items())
    assert http.put(url, content=b"x", headers={**headers, "x-amz-meta-a": "b"}).status_code == 403
    assert http.put(url, content=b"y", headers=headers).status_code == 400  # another body
    assert http.put(url, content=b"x", headers=headers).status_code == 200


def streamed(
    store: Endpoint, key: str, pieces: list[bytes], spoil: str = "", trailer: bool = False
) -> httpx.Response:
    """A PUT in signed chunks, made by hand after the S3 API reference."""
    payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + ("-TRAILER" if trailer else "")
    url = f"{store.url}/{BUCKET}/{key}"
    size = sum(map(len, pieces))
    headers = {
        "x-amz-content-sha256": payload,
        "x-amz-decoded-content-length": str(size + (spoil == "length")),
        "Content-Encoding": "aws-chunked",
    }
    if trailer:
        headers["x-amz-trailer"] = "x-amz-checksum-sha256"
    request = AWSRequest("PUT", url, headers=headers)
    request.context["signing"] = {}
    signer: Any = S3SigV4Auth(KEYS, "s3", REGION)
    signer.payload = lambda _: payload
    signer.add_auth(request)
    timestamp = request.context["timestamp"]
    scope = f"{timestamp[:8]}/{REGION}/s3/aws4_request"
    signing = b"AWS4" + SECRET.encode()
    for part in (timestamp[:8], REGION, "s3", "aws4_request"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    previous = request.headers["Authorization"].rpartition("Signature=")[2]
    empty = hashlib.sha256(b"").hexdigest()
    body = b""
    for piece in [*pieces, b""]:
        text = "\n".join(
            ["AWS4-HMAC-SHA256-PAYLOAD", timestamp, scope, previous, empty, hashlib.sha256(piece).hexdigest()]
        )
        previous = hmac.digest(signing, text.encode(), "sha256").hex()
        shown = piece[::-1] if spoil == "data" else piece
        body += b"%x;chunk-signature=%s\r\n" % (len(piece), previous.encode())
        body += shown + b"\r\n" if piece else b""
    if trailer:
        digest = base64.b64encode(hashlib.sha256(b"".join(pieces)).digest()).decode()
        line = f"x-amz-checksum-sha256:{digest}\n"
        text = "\n".join(
            [
                "AWS4-HMAC-SHA256-TRAILER",
                timestamp,
                scope,
                previous,
                hashlib.sha256(line.encode()).hexdigest(),
            ]
        )
        end = hmac.digest(signing, text.encode(), "sha256").hex()
        if spoil == "trailer":
            end = "0" * 64
        body += f"{line.strip()}\r\nx-amz-trailer-signature:{end}\r\n".encode()
    body += b"\r\n"
    if spoil == "end":
        body = body[:-40]
    return http.put(url, content=body, headers=dict(request.headers.items()))


@pytest.mark.parametrize("trailer", [False, True])
def test_signed_chunks(ours: Endpoint, key: str, trailer: bool) -> None:
    pieces = [bytes([number]) * 70_000 for number in range(20)]
    assert streamed(ours, key, pieces, trailer=trailer).status_code == 200
    found = ours.client().get_object(Bucket=BUCKET, Key=key)
    assert found["Body"].read() == b"".join(pieces)
    assert "ContentEncoding" not in found


@pytest.mark.parametrize(
    ("spoil", "trailer", "status"),
    [
        ("data", False, 403),
        ("length", False, 400),
        ("end", False, 400),
        ("trailer", True, 403),
        ("end", True, 400),
    ],
)
def test_signed_chunks_that_were_changed(
    ours: Endpoint, key: str, spoil: str, trailer: bool, status: int
) -> None:
    assert streamed(ours, key, [b"abc" * 10_000], spoil, trailer).status_code == status
    with pytest.raises(ClientError):
        ours.client().head_object(Bucket=BUCKET, Key=key)


def test_curl_sees_the_same(ours: Endpoint, key: str, curl: Curl) -> None:
    """curl signs by itself (--aws-sigv4): a third implementation agrees."""
    options = ["--aws-sigv4", f"aws:amz:{REGION}:s3", "--user", f"{ACCESS_KEY}:{SECRET}"]
    unsigned = ["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]
    url = f"{ours.url}/{BUCKET}/{key}"
    assert curl(url, *options, *unsigned, "-X", "PUT", "--data-binary", "hello")[0] == 200
    assert curl(url, *options, *unsigned)[2] == b"hello"
    wrong = ["--aws-sigv4", f"aws:amz:{REGION}:s3", "--user", f"{ACCESS_KEY}:wrong"]
    assert curl(url, *wrong, *unsigned)[0] == 403


OPUS = {"Content-Type": "audio/opus"}


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (
            OPUS | {"Content-Type": "audio/ogg"},
            "signed for Content-Type: audio/opus, and the request's is audio/ogg. Send exactly the headers",
        ),
        (OPUS | {"Content-Type": "audio/opus; charset=utf-8"}, "signed for Content-Type: audio/opus, and"),
        (OPUS | {"X-Forwarded-Host": "nothing.example.com"}, None),
        (OPUS | {"x-amz-checksum-sha256": "A" * 43 + "="}, "Every x-amz header"),
    ],
    ids=["another type", "a parameter more", "as signed", "an unsigned header"],
)
def test_a_put_that_differs_from_its_link_is_told_how(
    ours: Endpoint, key: str, headers: dict[str, str], words: str | None
) -> None:
    link = ours.signer().put_url(key, now=now(), expires_in=60, content_type="audio/opus")
    answer = http.put(link.url, content=b"x", headers=headers)
    assert answer.status_code == (200 if words is None else 403)
    assert words is None or words in answer.text


@pytest.mark.parametrize(
    ("host", "forwarded"), [("files.example.com", ""), ("proxied.example.com", "proxied.example.com, other")]
)
def test_a_link_that_a_proxy_sends_to_another_host_is_told_so(
    ours: Endpoint, key: str, host: str, forwarded: str
) -> None:
    port = urlsplit(ours.url).netloc
    source = StaticCredentials(Credentials(ACCESS_KEY, SECRET))
    signer = Presigner(f"https://{host}", region=REGION, bucket=BUCKET, credentials=source)
    link = signer.put_url(key, now=now(), expires_in=60, content_type="audio/wav")
    url = link.url.replace(f"https://{host}", ours.url)
    answer = http.put(url, content=b"x", headers=OPUS | {"X-Forwarded-Host": forwarded})
    assert (answer.status_code, code_of(answer)) == (403, "SignatureDoesNotMatch")
    assert f"signed for the host {host}, and the request's Host is {port}." in answer.text
    assert "signed for Content-Type: audio/wav, and the request's is audio/opus." in answer.text


def test_a_link_of_another_method_or_of_nobody_is_told_so(ours: Endpoint, key: str) -> None:
    url = ours.signer().get_url(key, now=now(), expires_in=60)
    assert "The link was signed for GET, and the request is a PUT." in http.put(url, content=b"x").text
    altered = f"{url[:-1]}{'0' if url[-1] != '0' else '1'}"
    assert "Use the URL unchanged, and send the signed headers" in http.get(altered).text
