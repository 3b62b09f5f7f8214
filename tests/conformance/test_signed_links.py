"""Signed links, used with nothing but curl: what they let through and what they do not."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.conftest import Curl
from tests.conformance.servers import BUCKET, Endpoint, now

BODY = b"OggS" + bytes(range(256)) * 40
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def body(tmp_path: Path) -> Path:
    file = tmp_path / "upload.bin"
    file.write_bytes(BODY)
    return file


def headers(pairs: dict[str, str]) -> list[str]:
    return [option for name, value in pairs.items() for option in ("-H", f"{name}: {value}")]


def test_a_link_takes_exactly_what_was_signed(
    store: Endpoint, client: Any, key: str, curl: Curl, body: Path
) -> None:
    put = store.signer().put_url(
        key, now=now(), expires_in=60, content_type="audio/ogg", content_length=len(BODY), sha256=SHA256
    )
    status, answer, _ = curl(put.url, "-T", str(body), *headers(put.headers))
    assert status == 200
    assert answer["etag"] in {f'"{hashlib.md5(BODY).hexdigest()}"', f'"{SHA256[:32]}-1"'}
    found = client.get_object(Bucket=BUCKET, Key=key)
    assert found["Body"].read() == BODY
    assert found["ContentType"] == "audio/ogg"
    assert found["ContentLength"] == len(BODY)


def test_put_twice_is_no_error(store: Endpoint, key: str, curl: Curl, body: Path) -> None:
    put = store.signer().put_url(key, now=now(), expires_in=60, content_type="audio/ogg")
    assert [curl(put.url, "-T", str(body), *headers(put.headers))[0] for _ in range(2)] == [200, 200]


def test_another_type_is_refused(store: Endpoint, client: Any, key: str, curl: Curl, body: Path) -> None:
    put = store.signer().put_url(key, now=now(), expires_in=60, content_type="audio/ogg")
    assert curl(put.url, "-T", str(body), "-H", "Content-Type: text/html")[0] == 403
    assert curl(put.url, "-T", str(body))[0] == 403
    assert_missing(client, key)


@pytest.mark.parametrize("length", [len(BODY) - 1, len(BODY) + 1])
def test_another_size_is_refused(
    store: Endpoint, client: Any, key: str, curl: Curl, body: Path, length: int
) -> None:
    put = store.signer().put_url(
        key, now=now(), expires_in=60, content_type="audio/ogg", content_length=length
    )
    assert curl(put.url, "-T", str(body), *headers(put.headers))[0] == 403
    assert_missing(client, key)


def test_another_hash_is_refused(store: Endpoint, client: Any, key: str, curl: Curl, body: Path) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    put = store.signer().put_url(key, now=now(), expires_in=60, content_type="audio/ogg", sha256=other)
    status, _, answer = curl(put.url, "-T", str(body), *headers(put.headers))
    assert status == 400
    assert b"<Code>BadDigest</Code>" in answer
    assert curl(put.url, "-T", str(body), "-H", "Content-Type: audio/ogg")[0] == 403  # header left out
    right = store.signer().put_url(key, now=now(), expires_in=60, content_type="audio/ogg", sha256=SHA256)
    swapped = {**put.headers, "x-amz-checksum-sha256": right.headers["x-amz-checksum-sha256"]}
    assert curl(put.url, "-T", str(body), *headers(swapped))[0] == 403
    assert_missing(client, key)


TAMPERINGS: dict[str, Callable[[str], str]] = {
    "signature": lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"),
    "no-signature": lambda url: url.partition("&X-Amz-Signature=")[0],
    "key": lambda url: url.replace("/object?", "/objects?"),
    "expiry": lambda url: url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"),
    "type": lambda url: url.replace("response-content-type=audio", "response-content-type=text"),
    "disposition": lambda url: url.replace("%22a.ogg%22", "%22b.ogg%22"),
    "override-removed": lambda url: url.replace("response-content-type=audio%2Fogg&", ""),
    "override-added": lambda url: f"{url}&response-cache-control=no-store",
    "date": lambda url: url.replace("T", "T0", 1),
    "access-key": lambda url: url.replace("AKIDTEST", "AKIDNONE"),
    "bucket": lambda url: url.replace(f"/{BUCKET}/", "/other/"),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_an_altered_link_is_refused(
    store: Endpoint, client: Any, key: str, curl: Curl, tampering: str
) -> None:
    client.put_object(Bucket=BUCKET, Key=key, Body=BODY)
    url = store.signer().get_url(
        key,
        now=now(),
        expires_in=60,
        response_content_type="audio/ogg",
        response_content_disposition='inline; filename="a.ogg"',
    )
    status, answer, content = curl(url)
    assert (status, content) == (200, BODY)
    assert answer["content-type"] == "audio/ogg"
    assert answer["content-disposition"] == 'inline; filename="a.ogg"'
    assert "content-encoding" not in answer
    assert "content-range" not in answer
    assert answer["content-length"] == str(len(BODY))
    altered = TAMPERINGS[tampering](url)
    assert altered != url
    status, _, content = curl(altered)
    assert status in ({403} if store.kind == "embedded" else {400, 403})
    assert BODY not in content


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "POST"])
def test_the_method_is_part_of_the_link(
    store: Endpoint, client: Any, key: str, curl: Curl, method: str
) -> None:
    client.put_object(Bucket=BUCKET, Key=key, Body=BODY)
    url = store.signer().get_url(key, now=now(), expires_in=60)
    options = ["-I"] if method == "HEAD" else ["-X", method]
    assert curl(url, *options)[0] in {403, 405}
    assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == BODY


def test_head_and_delete_links(store: Endpoint, client: Any, key: str, curl: Curl) -> None:
    client.put_object(Bucket=BUCKET, Key=key, Body=BODY)
    head, delete = (
        client.generate_presigned_url(name, Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=60)
        for name in ("head_object", "delete_object")
    )
    status, answer, _ = curl(head, "-I")
    assert (status, answer["content-length"]) == (200, str(len(BODY)))
    assert curl(delete, "-X", "DELETE")[0] == 204
    assert_missing(client, key)


def test_an_expired_link_is_refused(store: Endpoint, client: Any, key: str, curl: Curl, body: Path) -> None:
    client.put_object(Bucket=BUCKET, Key=key, Body=b"kept")
    long_ago = now() - timedelta(seconds=62)
    assert curl(store.signer().get_url(key, now=long_ago, expires_in=60))[0] == 403
    put = store.signer().put_url(key, now=long_ago, expires_in=60, content_type="audio/ogg")
    assert curl(put.url, "-T", str(body), *headers(put.headers))[0] == 403
    assert curl(store.signer().get_url(key, now=long_ago, expires_in=120))[2] == b"kept"


@pytest.mark.parametrize("expires", ["0", "-1", "604801", "1e3", "60.0", "", "99999999999999999999"])
def test_a_life_that_none_can_have(store: Endpoint, client: Any, key: str, curl: Curl, expires: str) -> None:
    client.put_object(Bucket=BUCKET, Key=key, Body=b"kept")
    url = store.signer().get_url(key, now=now(), expires_in=60)
    assert curl(url.replace("X-Amz-Expires=60", f"X-Amz-Expires={expires}"))[0] in {400, 403}


def test_a_wrong_secret_is_refused(store: Endpoint, client: Any, key: str, curl: Curl) -> None:
    client.put_object(Bucket=BUCKET, Key=key, Body=b"kept")
    assert curl(store.signer("wrong").get_url(key, now=now(), expires_in=60))[0] == 403


def test_unsigned_requests_are_refused(
    store: Endpoint, client: Any, key: str, curl: Curl, body: Path
) -> None:
    client.put_object(Bucket=BUCKET, Key=key, Body=b"kept")
    url = f"{store.url}/{BUCKET}/{key}"
    assert curl(url)[0] == 403
    assert curl(url, "-T", str(body))[0] == 403
    assert curl(url, "-X", "DELETE")[0] == 403
    assert curl(f"{store.url}/{BUCKET}?list-type=2")[0] == 403
    assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"kept"


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "with space",
        "plus+and&and=and%and~and'and(and)",
        "ünïcode-録音-🎧",
        "a.b..c",
        "UPPER-lower",
        "deep/er/still/x.opus",
        "x" * 200,
    ],
)
def test_any_key_goes_in_and_comes_out(
    store: Endpoint, client: Any, key: str, curl: Curl, body: Path, name: str
) -> None:
    full = f"{key.partition('[')[0][:40]}/{name}"
    put = store.signer().put_url(full, now=now(), expires_in=60, content_type="audio/ogg")
    assert curl(put.url, "-T", str(body), *headers(put.headers))[0] == 200
    assert curl(store.signer().get_url(full, now=now(), expires_in=60))[2] == BODY
    assert client.get_object(Bucket=BUCKET, Key=full)["Body"].read() == BODY


def test_if_none_match_answers_304_on_a_link(store: Endpoint, client: Any, key: str, curl: Curl) -> None:
    etag = client.put_object(Bucket=BUCKET, Key=key, Body=BODY)["ETag"]
    url = store.signer().get_url(key, now=now(), expires_in=60)
    assert curl(url, "-H", f"If-None-Match: {etag}")[0] == 304
    assert curl(url, "-H", 'If-None-Match: "other"')[0] == 200


def assert_missing(client: Any, key: str) -> None:
    with pytest.raises(client.exceptions.ClientError) as error:
        client.head_object(Bucket=BUCKET, Key=key)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
