"""Requests nobody should send our store: odd URLs, headers, documents, signatures. Each is refused."""

from typing import Any

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError

from tests.conformance.sending import KEYS, code_of, send, signed
from tests.conformance.servers import BUCKET, REGION, Endpoint, now
from tests.support.plain_http import http


def ask(store: Endpoint, raw: bytes) -> bytes:
    """Send bytes, return what comes back until the store hangs up or has answered."""
    with store.connect() as connection:
        connection.sendall(raw)
        answer = b""
        while b"\r\n\r\n" not in answer:
            got = connection.recv(65536)
            if not got:
                break
            answer += got
        return answer


def status_of(answer: bytes) -> int:
    return int(answer.split()[1])


@pytest.mark.parametrize(
    "target",
    [
        "/recordings/../../etc/passwd",
        "/recordings/%2e%2e/%2e%2e/etc/passwd",
        "/recordings/a%00b",
        "/recordings/%ff%fe",
        "/recordings/%",
        "/recordings/%zz",
        "//recordings/x",
        "/",
        "/..",
        "/recordings?list-type=2&list-type=2",
        "/recordings/x?%ff=1",
        "/recordings/x?X-Amz-Algorithm=AWS4-HMAC-SHA256",
        "/recordings/x?X-Amz-Signature=" + "0" * 64,
        "/recordings/x?" + "a=b&" * 2000,
        "/recordings/" + "x" * 9000,
        "*",
        "http://evil.example.org/recordings/x",
    ],
)
def test_unsigned_oddities_are_refused(ours: Endpoint, target: str) -> None:
    answer = ask(ours, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert status_of(answer) in {400, 403}
    assert b"root:" not in answer


def test_huge_headers_are_refused(ours: Endpoint) -> None:
    answer = ask(ours, b"GET /recordings/x HTTP/1.1\r\nHost: x\r\nA: " + b"y" * 100_000 + b"\r\n\r\n")
    assert status_of(answer) in {400, 431}


@pytest.mark.parametrize("key", ["a\x00b", "a\x1fb", "\x08", "￾", "k" * 1025, "ü" * 513])
def test_keys_that_cannot_be(ours: Endpoint, key: str) -> None:
    put = ours.signer().put_url(key, now=now(), expires_in=60, content_type="a/b")
    answer = http.put(put.url, content=b"x", headers=put.headers)
    assert answer.status_code == 400
    assert code_of(answer) in {"InvalidArgument", "KeyTooLongError"}


@pytest.mark.parametrize(
    "key",
    [
        "k" * 1024,
        "ü" * 512,
        "/" * 1024,
        "a/" * 60,
        ".",
        "..",
        "../..",
        "./a",
        "a//b",
        "/a",
        "a/",
        "a.o",
        "a.d/b.c/c.o",
        "~+%41",
        "\t\n\r ",
        "C:\\con",
        "x" * 79 + "/" + "y" * 80 + "/" + "z" * 81,
    ],
)
def test_keys_that_can_be(ours: Endpoint, key: str) -> None:
    put = ours.signer().put_url(key, now=now(), expires_in=60, content_type="a/b")
    assert send("PUT", put.url, key.encode(), put.headers)[0] == 200
    assert send("GET", ours.signer().get_url(key, now=now(), expires_in=60)) == (200, key.encode())
    listed = ours.client().list_objects_v2(Bucket=BUCKET, Prefix=key, MaxKeys=1)
    assert [each["Key"] for each in listed["Contents"]] == [key]
    ours.client().delete_object(Bucket=BUCKET, Key=key)
    assert send("GET", ours.signer().get_url(key, now=now(), expires_in=60))[0] == 404


def test_keys_that_differ_little_are_different(ours: Endpoint, key: str) -> None:
    names = [key, f"{key}/", f"{key}/a", f"{key}/A", f"{key}//a", f"{key}.o", f"{key}.d", f"{key}.D"]
    client = ours.client()
    for name in names:
        client.put_object(Bucket=BUCKET, Key=name, Body=name.encode())
    for name in names:
        assert client.get_object(Bucket=BUCKET, Key=name)["Body"].read() == name.encode()
    client.delete_object(Bucket=BUCKET, Key=key)
    assert client.get_object(Bucket=BUCKET, Key=f"{key}/a")["Body"].read() == f"{key}/a".encode()


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("GET", "acl"),
        ("PUT", "acl"),
        ("GET", "versionId=1"),
        ("PUT", "tagging"),
        ("DELETE", "tagging"),
        ("GET", "torrent"),
        ("PUT", "retention"),
        ("GET", "partNumber=1"),
        ("POST", "restore"),
        ("GET", "attributes"),
        ("PUT", "unheard-of"),
        ("POST", ""),
        ("PUT", "response-content-type=text%2Fhtml"),
    ],
)
def test_calls_we_do_not_serve_do_nothing(ours: Endpoint, key: str, method: str, query: str) -> None:
    ours.client().put_object(Bucket=BUCKET, Key=key, Body=b"kept")
    answer = signed(method, f"{ours.url}/{BUCKET}/{key}?{query}", b"<x/>" if method != "GET" else b"")
    assert answer.status_code == 501
    assert code_of(answer) == "NotImplemented"
    assert ours.client().get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"kept"


@pytest.mark.parametrize(
    "header",
    [
        {"If-Match": '"abc"'},
        {"x-amz-server-side-encryption": "AES256"},
        {"x-amz-tagging": "a=b"},
        {"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="},
        {"If-None-Match": '"abc"'},
    ],
)
def test_headers_we_do_not_serve_do_nothing(ours: Endpoint, key: str, header: dict[str, str]) -> None:
    answer = signed("PUT", f"{ours.url}/{BUCKET}/{key}", b"x", header)
    assert (answer.status_code, code_of(answer)) == (501, "NotImplemented")
    with pytest.raises(ClientError):
        ours.client().head_object(Bucket=BUCKET, Key=key)


@pytest.mark.parametrize(
    "header",
    [
        {"x-amz-checksum-sha256": "not base64"},
        {"x-amz-checksum-sha256": "AAAA"},
        {"Content-MD5": "AAAA"},
        {"x-amz-meta-big": "x" * 3000},
        {"Cache-Control": "x" * 3000},
    ],
)
def test_headers_that_are_wrong(ours: Endpoint, key: str, header: dict[str, str]) -> None:
    assert signed("PUT", f"{ours.url}/{BUCKET}/{key}", b"x", header).status_code == 400


@pytest.mark.parametrize("override", ["a%0d%0aSet-Cookie:%20a=b", "a%00b", "%7f"])
def test_an_override_adds_no_header(ours: Endpoint, key: str, override: str) -> None:
    ours.client().put_object(Bucket=BUCKET, Key=key, Body=b"x")
    request = AWSRequest("GET", f"{ours.url}/{BUCKET}/{key}?response-content-disposition={override}")
    request.context["signing"] = {}
    S3SigV4QueryAuth(KEYS, "s3", REGION, expires=60).add_auth(request)
    answer = http.get(str(request.url))
    assert answer.status_code == 400
    assert "set-cookie" not in answer.headers


def test_a_page_from_the_store_may_do_nothing(ours: Endpoint, key: str) -> None:
    ours.client().put_object(
        Bucket=BUCKET, Key=key, Body=b"<script>alert(1)</script>", ContentType="text/html"
    )
    answer = http.get(ours.signer().get_url(key, now=now(), expires_in=60))
    refused = http.get(f"{ours.url}/{BUCKET}/{key}")
    for each in (answer, refused):
        assert each.headers["x-content-type-options"] == "nosniff"
        assert each.headers["content-security-policy"].startswith("sandbox;")
        assert "default-src 'none'" in each.headers["content-security-policy"]
        assert each.headers["x-amz-request-id"]
    assert f"<RequestId>{refused.headers['x-amz-request-id']}</RequestId>" in refused.text


def test_a_refusal_shows_no_path_of_the_machine(ours: Endpoint) -> None:
    answer = http.get(ours.signer().get_url("missing", now=now(), expires_in=60))
    assert answer.status_code == 404
    assert str(ours.root) not in answer.text


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"no xml",
        b"<Delete>",
        b"<Delete></Delete>",
        b"<Other><Object><Key>x</Key></Object></Other>",
        b"<Delete><Object></Object></Delete>",
        b'<!DOCTYPE Delete [<!ENTITY a "b">]><Delete><Object><Key>&a;</Key></Object></Delete>',
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE Delete []><Delete/>'.encode("utf-16"),
        b"<Delete>" + b"<a>" * 1000 + b"</a>" * 1000 + b"</Delete>",
        b"<Delete>" + b"<Object><Key>x</Key></Object>" * 1001 + b"</Delete>",
        b'<?xml version="1.0" encoding="nonsense"?><Delete/>',
        b"\xff\xfe\x00",
    ],
)
def test_documents_that_are_none(ours: Endpoint, document: bytes) -> None:
    answer = signed("POST", f"{ours.url}/{BUCKET}?delete", document)
    assert (answer.status_code, code_of(answer)) == (400, "MalformedXML")


def test_a_document_without_end_is_refused(ours: Endpoint) -> None:
    answer = signed("POST", f"{ours.url}/{BUCKET}?delete", b"<Delete>" + b" " * (3 << 20))
    assert (answer.status_code, code_of(answer)) == (400, "EntityTooLarge")


@pytest.mark.parametrize(
    "query", ["max-keys=x", "max-keys=-1", "encoding-type=xml", "continuation-token=%21"]
)
def test_listings_that_cannot_be(ours: Endpoint, query: str) -> None:
    answer = signed("GET", f"{ours.url}/{BUCKET}?list-type=2&{query}")
    assert (answer.status_code, code_of(answer)) == (400, "InvalidArgument")


def test_uploads_in_parts_that_cannot_be(ours: Endpoint, key: str) -> None:
    client = ours.client()
    upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    place: dict[str, Any] = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
    etags = [client.upload_part(PartNumber=n, Body=b"x" * n, **place)["ETag"] for n in (1, 2)]

    def complete(*parts: tuple[int, str]) -> str:
        with pytest.raises(ClientError) as error:
            client.complete_multipart_upload(
                MultipartUpload={"Parts": [{"PartNumber": n, "ETag": e} for n, e in parts]}, **place
            )
        return error.value.response["Error"]["Code"]

    assert complete((1, etags[0]), (2, etags[1])) == "EntityTooSmall"
    assert complete((2, etags[1]), (1, etags[0])) == "InvalidPartOrder"
    assert complete((1, '"0"')) == "InvalidPart"
    assert complete((3, etags[0])) == "InvalidPart"
    for wrong in ("..%2F..%2Fx", "0" * 32, "", upload.upper()):
        answer = signed("GET", f"{ours.url}/{BUCKET}/{key}?uploadId={wrong}")
        assert (answer.status_code, code_of(answer)) == (404, "NoSuchUpload")
    for number in ("0", "10001", "-1", "x"):
        answer = signed("PUT", f"{ours.url}/{BUCKET}/{key}?partNumber={number}&uploadId={upload}", b"x")
        assert answer.status_code == 400
    client.complete_multipart_upload(
        MultipartUpload={"Parts": [{"PartNumber": 2, "ETag": etags[1]}]}, **place
    )
    assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"xx"


@pytest.mark.parametrize(
    "bucket", ["..", "a", "UPPER", "a..b", "-ab", "ab-", "x" * 64, "a_b", "temporary/../x"]
)
def test_buckets_that_cannot_be(ours: Endpoint, bucket: str) -> None:
    answer = signed("PUT", f"{ours.url}/{bucket}")
    assert answer.status_code in {400, 403, 404}
    assert not (ours.root / bucket).is_dir() or bucket == ".."
