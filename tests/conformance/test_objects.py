"""What boto3 does with objects: read, ranges, conditions, copy, list, delete, multipart, CORS."""

import hashlib
import io
import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.conformance.servers import BUCKET, Endpoint

BODY = bytes(range(256)) * 40
MIB = 1 << 20


def status_of(error: pytest.ExceptionInfo[ClientError]) -> int:
    return error.value.response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture
def stored(client: Any, key: str) -> str:
    client.put_object(Bucket=BUCKET, Key=key, Body=BODY, ContentType="audio/ogg")
    return key


def test_an_object_keeps_its_headers(client: Any, key: str) -> None:
    client.put_object(
        Bucket=BUCKET,
        Key=key,
        Body=BODY,
        ContentType="audio/ogg; codecs=opus",
        CacheControl="private",
        ContentDisposition='attachment; filename="a.ogg"',
        ContentLanguage="de",
        Metadata={"device": "pin-7"},
    )
    for found in (client.head_object(Bucket=BUCKET, Key=key), client.get_object(Bucket=BUCKET, Key=key)):
        assert found["ContentLength"] == len(BODY)
        assert found["ContentType"] == "audio/ogg; codecs=opus"
        assert found["CacheControl"] == "private"
        assert found["ContentDisposition"] == 'attachment; filename="a.ogg"'
        assert found["ContentLanguage"] == "de"
        assert found["Metadata"] == {"device": "pin-7"}
        assert found["ETag"] == f'"{hashlib.md5(BODY).hexdigest()}"'
        assert found["LastModified"].tzinfo is not None


def test_an_empty_object(client: Any, key: str) -> None:
    client.put_object(Bucket=BUCKET, Key=key, Body=b"")
    assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b""
    assert client.head_object(Bucket=BUCKET, Key=key)["ContentLength"] == 0


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("bytes=0-9", BODY[:10]),
        ("bytes=100-199", BODY[100:200]),
        ("bytes=10000-", BODY[10000:]),
        ("bytes=-7", BODY[-7:]),
        ("bytes=-99999999", BODY),
        (f"bytes=5-{len(BODY) * 2}", BODY[5:]),
        (f"bytes={len(BODY) - 1}-{len(BODY) - 1}", BODY[-1:]),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_ranges(client: Any, stored: str, wanted: str, expected: bytes) -> None:
    found = client.get_object(Bucket=BUCKET, Key=stored, Range=wanted)
    assert found["Body"].read() == expected
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert found["ContentLength"] == len(expected)
    assert found["ContentType"] == "audio/ogg"
    first = len(BODY) - len(expected) if wanted.startswith("bytes=-") else int(wanted[6:].partition("-")[0])
    assert found["ContentRange"] == f"bytes {first}-{first + len(expected) - 1}/{len(BODY)}"


@pytest.mark.parametrize("wanted", [f"bytes={len(BODY)}-", "bytes=99999999-100000000"])
def test_a_range_behind_the_end_is_416(client: Any, stored: str, wanted: str) -> None:
    with pytest.raises(ClientError) as error:
        client.get_object(Bucket=BUCKET, Key=stored, Range=wanted)
    assert status_of(error) == 416


def test_ranges_of_a_large_object(client: Any, key: str) -> None:
    body = os.urandom(5 * MIB + 17)
    client.put_object(Bucket=BUCKET, Key=key, Body=body)
    assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body
    for first, last in ((0, 0), (MIB - 1, MIB), (3 * MIB, 5 * MIB + 16), (1, 4 * MIB)):
        found = client.get_object(Bucket=BUCKET, Key=key, Range=f"bytes={first}-{last}")
        assert found["Body"].read() == body[first : last + 1]
    assert client.get_object(Bucket=BUCKET, Key=key, Range="bytes=-3")["Body"].read() == body[-3:]


def test_conditions_on_reading(client: Any, stored: str) -> None:
    etag = client.head_object(Bucket=BUCKET, Key=stored)["ETag"]
    for call in (client.get_object, client.head_object):
        assert call(Bucket=BUCKET, Key=stored, IfMatch=etag)["ETag"] == etag
        assert call(Bucket=BUCKET, Key=stored, IfNoneMatch='"other"')["ETag"] == etag
        with pytest.raises(ClientError) as error:
            call(Bucket=BUCKET, Key=stored, IfNoneMatch=etag)
        assert status_of(error) == 304
        with pytest.raises(ClientError) as error:
            call(Bucket=BUCKET, Key=stored, IfMatch='"other"')
        assert status_of(error) == 412


def test_a_missing_object_is_404(client: Any, key: str) -> None:
    with pytest.raises(client.exceptions.NoSuchKey):
        client.get_object(Bucket=BUCKET, Key=key)
    with pytest.raises(ClientError) as error:
        client.head_object(Bucket=BUCKET, Key=key)
    assert status_of(error) == 404


def test_write_only_if_new(client: Any, key: str) -> None:
    client.put_object(Bucket=BUCKET, Key=key, Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError) as error:
        client.put_object(Bucket=BUCKET, Key=key, Body=b"second", IfNoneMatch="*")
    assert status_of(error) == 412
    assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"first"


def test_checksums_are_checked(client: Any, key: str) -> None:
    right = b64encode(hashlib.sha256(BODY).digest()).decode()
    wrong = b64encode(hashlib.sha256(b"x").digest()).decode()
    client.put_object(Bucket=BUCKET, Key=key, Body=BODY, ChecksumSHA256=right)
    found = client.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
    assert found["ChecksumSHA256"] == right
    with pytest.raises(ClientError) as error:
        client.put_object(Bucket=BUCKET, Key=key, Body=BODY, ChecksumSHA256=wrong)
    assert error.value.response["Error"]["Code"] == "BadDigest"
    with pytest.raises(ClientError) as error:
        client.put_object(
            Bucket=BUCKET, Key=key, Body=b"y", ContentMD5=b64encode(hashlib.md5(b"x").digest()).decode()
        )
    assert error.value.response["Error"]["Code"] == "BadDigest"
    assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == BODY


def test_copy_keeps_or_replaces_metadata(client: Any, stored: str, key: str) -> None:
    source = {"Bucket": BUCKET, "Key": stored}
    client.copy_object(Bucket=BUCKET, Key=f"{key}-copy", CopySource=source)
    found = client.get_object(Bucket=BUCKET, Key=f"{key}-copy")
    assert (found["Body"].read(), found["ContentType"]) == (BODY, "audio/ogg")
    client.copy_object(
        Bucket=BUCKET,
        Key=f"{key}-other",
        CopySource=source,
        MetadataDirective="REPLACE",
        ContentType="image/png",
        Metadata={"a": "b"},
    )
    found = client.get_object(Bucket=BUCKET, Key=f"{key}-other")
    assert (found["Body"].read(), found["ContentType"], found["Metadata"]) == (BODY, "image/png", {"a": "b"})
    client.delete_object(Bucket=BUCKET, Key=stored)
    assert client.get_object(Bucket=BUCKET, Key=f"{key}-copy")["Body"].read() == BODY


def test_copy_of_what_was_seen_or_nothing(client: Any, stored: str, key: str) -> None:
    source = {"Bucket": BUCKET, "Key": stored}
    etag = client.head_object(Bucket=BUCKET, Key=stored)["ETag"]
    copied = client.copy_object(Bucket=BUCKET, Key=f"{key}-a", CopySource=source, CopySourceIfMatch=etag)
    assert copied["CopyObjectResult"]["ETag"].strip('"') == etag.strip('"')
    client.put_object(Bucket=BUCKET, Key=stored, Body=b"changed")
    with pytest.raises(ClientError) as error:
        client.copy_object(Bucket=BUCKET, Key=f"{key}-b", CopySource=source, CopySourceIfMatch=etag)
    assert status_of(error) == 412
    with pytest.raises(ClientError) as error:
        client.head_object(Bucket=BUCKET, Key=f"{key}-b")
    assert status_of(error) == 404
    with pytest.raises(ClientError) as error:
        client.copy_object(Bucket=BUCKET, Key=f"{key}-c", CopySource={"Bucket": BUCKET, "Key": "nothing"})
    assert status_of(error) == 404


def test_a_copy_gets_the_checksum_that_is_asked_for(
    client: Any, store: Endpoint, stored: str, key: str
) -> None:
    source, copy = {"Bucket": BUCKET, "Key": stored}, f"{key}-copy"
    for name, digest in (("SHA256", hashlib.sha256(BODY).digest()), ("SHA1", hashlib.sha1(BODY).digest())):
        result = client.copy_object(Bucket=BUCKET, Key=copy, CopySource=source, ChecksumAlgorithm=name)
        told = result["CopyObjectResult"].get(f"Checksum{name}")
        # SeaweedFS copies the object, and says no checksum of it.
        assert told == (b64encode(digest).decode() if store.kind == "embedded" else None)
        found = client.head_object(Bucket=BUCKET, Key=copy, ChecksumMode="ENABLED")
        assert found.get(f"Checksum{name}") == told
    assert client.get_object(Bucket=BUCKET, Key=copy)["Body"].read() == BODY


def test_a_copy_keeps_the_checksums_of_its_source(ours: Endpoint, key: str) -> None:
    client, digest = ours.client(), b64encode(hashlib.sha256(BODY).digest()).decode()
    client.put_object(Bucket=BUCKET, Key=key, Body=BODY, ChecksumSHA256=digest)
    source = {"Bucket": BUCKET, "Key": key}
    result = client.copy_object(Bucket=BUCKET, Key=f"{key}-copy", CopySource=source)["CopyObjectResult"]
    assert (result["ChecksumSHA256"], result["ChecksumType"]) == (digest, "FULL_OBJECT")


@pytest.mark.parametrize(("asked", "status"), [("CRC32C", 501), ("MD4", 400), ("sha256", 400)])
def test_a_copy_with_a_checksum_that_cannot_be_made_is_refused(
    ours: Endpoint, key: str, asked: str, status: int
) -> None:
    client = ours.client()
    client.put_object(Bucket=BUCKET, Key=key, Body=BODY)
    source = {"Bucket": BUCKET, "Key": key}
    with pytest.raises(ClientError) as error:
        client.copy_object(Bucket=BUCKET, Key=f"{key}-copy", CopySource=source, ChecksumAlgorithm=asked)
    assert status_of(error) == status
    assert "Contents" not in client.list_objects_v2(Bucket=BUCKET, Prefix=f"{key}-copy")


def test_delete(client: Any, stored: str) -> None:
    for _ in range(2):  # a missing one is no error
        assert client.delete_object(Bucket=BUCKET, Key=stored)["ResponseMetadata"]["HTTPStatusCode"] == 204
    with pytest.raises(client.exceptions.NoSuchKey):
        client.get_object(Bucket=BUCKET, Key=stored)


def test_delete_many(client: Any, key: str) -> None:
    names = [f"{key}/{number}&<é>" for number in range(5)]
    for name in names:
        client.put_object(Bucket=BUCKET, Key=name, Body=b"x")
    objects = [{"Key": name} for name in [*names[:4], f"{key}/never"]]
    answer = client.delete_objects(Bucket=BUCKET, Delete={"Objects": objects})
    assert sorted(each["Key"] for each in answer["Deleted"]) == sorted(each["Key"] for each in objects)
    assert not answer.get("Errors")
    left = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{key}/")
    assert [each["Key"] for each in left["Contents"]] == names[4:]


def pages(client: Any, **options: Any) -> Iterator[Any]:
    yield from client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, **options)


def test_a_listing_is_complete_and_in_order(store: Endpoint, client: Any, key: str) -> None:
    names = [f"{key}/{tail}" for tail in ("a", "a-b", "a.b", "a/b", "a/b/c", "a0", "b", "ü", "z z")]
    for name in reversed(names):
        client.put_object(Bucket=BUCKET, Key=name, Body=name.encode())
    for size in (1, 2, 3, 1000):
        listed = [
            each
            for page in pages(client, Prefix=f"{key}/", PaginationConfig={"PageSize": size})
            for each in page.get("Contents", [])
        ]
        found = [each["Key"] for each in listed]
        if store.kind != "embedded":  # SeaweedFS lists folder by folder, not in S3's order
            found.sort(key=str.encode)
        assert found == sorted(names, key=str.encode)
        assert [each["Size"] for each in listed] == [len(each["Key"].encode()) for each in listed]


def test_a_listing_by_folders(client: Any, key: str) -> None:
    for tail in ("a/1", "a/2", "b", "c/d/1", "c/e", "d"):
        client.put_object(Bucket=BUCKET, Key=f"{key}/{tail}", Body=b"x")
    for size in (1, 2, 1000):
        found = list(pages(client, Prefix=f"{key}/", Delimiter="/", PaginationConfig={"PageSize": size}))
        assert [each["Key"] for page in found for each in page.get("Contents", [])] == [
            f"{key}/b",
            f"{key}/d",
        ]
        assert [each["Prefix"] for page in found for each in page.get("CommonPrefixes", [])] == [
            f"{key}/a/",
            f"{key}/c/",
        ]


def test_a_listing_starts_after(client: Any, key: str) -> None:
    for number in range(4):
        client.put_object(Bucket=BUCKET, Key=f"{key}/{number}", Body=b"x")
    found = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{key}/", StartAfter=f"{key}/1")
    assert [each["Key"] for each in found["Contents"]] == [f"{key}/2", f"{key}/3"]
    assert client.list_objects_v2(Bucket=BUCKET, Prefix=f"{key}/nothing")["KeyCount"] == 0


def test_multipart(client: Any, key: str) -> None:
    body = os.urandom(12 * MIB)
    upload = client.create_multipart_upload(
        Bucket=BUCKET, Key=key, ContentType="video/mp4", Metadata={"a": "b"}
    )["UploadId"]
    place = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
    parts: list[dict[str, Any]] = []
    for number, start in ((1, 0), (2, 6 * MIB)):
        answer = client.upload_part(PartNumber=number, Body=body[start : start + 6 * MIB], **place)
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    with pytest.raises(ClientError):  # nothing is visible before the end
        client.head_object(Bucket=BUCKET, Key=key)
    listed = client.list_parts(**place)["Parts"]
    assert [(each["PartNumber"], each["Size"]) for each in listed] == [(1, 6 * MIB), (2, 6 * MIB)]
    client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **place)
    found = client.get_object(Bucket=BUCKET, Key=key)
    assert found["Body"].read() == body
    assert (found["ContentType"], found["Metadata"]) == ("video/mp4", {"a": "b"})
    assert found["ETag"].strip('"').endswith("-2")


def test_the_etag_of_an_object_with_a_sha256_is_the_stores_own(client: Any, key: str) -> None:
    sha256 = b64encode(hashlib.sha256(BODY).digest()).decode()
    put = client.put_object(Bucket=BUCKET, Key=key, Body=BODY, ChecksumSHA256=sha256)
    found = client.get_object(Bucket=BUCKET, Key=key, IfMatch=put["ETag"])
    assert (found["ETag"], found["Body"].read()) == (put["ETag"], BODY)
    # A client takes one without a dash for an MD5.
    assert "-" in put["ETag"] or put["ETag"] == f'"{hashlib.md5(BODY).hexdigest()}"'
    upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    place = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
    part = client.upload_part(PartNumber=1, Body=BODY, ChecksumSHA256=sha256, **place)
    parts = [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA256": sha256}]
    client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **place)
    found = client.get_object(Bucket=BUCKET, Key=key)
    assert (found["ETag"].strip('"')[-2:], found["Body"].read()) == ("-1", BODY)


def test_multipart_aborted_leaves_nothing(client: Any, key: str) -> None:
    upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"x")
    client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)
    with pytest.raises(ClientError) as error:
        client.list_parts(Bucket=BUCKET, Key=key, UploadId=upload)
    assert error.value.response["Error"]["Code"] == "NoSuchUpload"


def test_managed_transfers(client: Any, key: str) -> None:
    body = os.urandom(18 * MIB)
    client.upload_fileobj(io.BytesIO(body), BUCKET, key)
    got = io.BytesIO()
    client.download_fileobj(BUCKET, key, got)
    assert got.getvalue() == body


def test_a_page_may_upload_after_asking(store: Endpoint, client: Any, key: str) -> None:
    rules = [
        {
            "AllowedOrigins": ["https://app.example.org"],
            "AllowedMethods": ["GET", "PUT"],
            "AllowedHeaders": ["Content-Type", "x-amz-checksum-sha256"],
            "ExposeHeaders": ["ETag"],
            "MaxAgeSeconds": 600,
        }
    ]
    client.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": rules})
    assert client.get_bucket_cors(Bucket=BUCKET)["CORSRules"] == rules
    asking = {
        "Origin": "https://app.example.org",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "content-type, x-amz-checksum-sha256",
    }
    answer = httpx.options(f"{store.url}/{BUCKET}/{key}", headers=asking)
    assert answer.status_code in {200, 204}
    assert answer.headers["access-control-allow-origin"] in {"https://app.example.org", "*"}
    assert "PUT" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].lower()
    assert "content-type" in allowed
    assert "x-amz-checksum-sha256" in allowed
    refused = httpx.options(
        f"{store.url}/{BUCKET}/{key}", headers={**asking, "Origin": "https://evil.example.org"}
    )
    assert refused.headers.get("access-control-allow-origin") in {None, "null"}
    client.delete_bucket_cors(Bucket=BUCKET)


def test_a_wrong_secret_is_refused(store: Endpoint, key: str) -> None:
    stranger = store.client("wrong-secret")
    for call in (
        lambda: stranger.put_object(Bucket=BUCKET, Key=key, Body=b"x"),
        lambda: stranger.get_object(Bucket=BUCKET, Key=key),
        lambda: stranger.list_objects_v2(Bucket=BUCKET),
        lambda: stranger.delete_object(Bucket=BUCKET, Key=key),
    ):
        with pytest.raises(ClientError) as error:
            call()
        assert error.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


def test_buckets(client: Any) -> None:
    assert BUCKET in [each["Name"] for each in client.list_buckets()["Buckets"]]
    client.head_bucket(Bucket=BUCKET)
    client.create_bucket(Bucket="another-bucket")
    client.put_object(Bucket="another-bucket", Key="k", Body=b"x")
    assert client.get_object(Bucket="another-bucket", Key="k")["Body"].read() == b"x"
    with pytest.raises(ClientError) as error:
        client.head_bucket(Bucket="no-such-bucket")
    assert status_of(error) == 404


@pytest.mark.parametrize(
    "name", ["../../outside", "a/../../../outside", "/../outside", "a/%2e%2e/%2e%2e/outside"]
)
def test_no_key_leads_out(store: Endpoint, client: Any, key: str, name: str) -> None:
    """A key may look like a path upwards; it is refused or is a name like any other."""
    before = sorted(store.root.parent.rglob("outside*"))
    full = f"{key}/{name}"
    with suppress(ClientError):  # SeaweedFS refuses such keys
        client.put_object(Bucket=BUCKET, Key=full, Body=b"secret")
        assert client.get_object(Bucket=BUCKET, Key=full)["Body"].read() == b"secret"
        client.delete_object(Bucket=BUCKET, Key=full)
    assert sorted(store.root.parent.rglob("outside*")) == before
