"""The calls on the service and on a bucket: create, find, list, delete many, CORS.

Handlers raise `S3Error` for a request that they refuse, `SenderGone` when the client hangs up.
Source: Amazon S3 API reference, under the name of each call.
"""

import re
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from pathlib import Path

from lapel.embedded.s3.calls import cors
from lapel.embedded.s3.files.listing import ListingPage, list_page
from lapel.embedded.s3.files.objects import delete_object
from lapel.embedded.s3.files.paths import check_key
from lapel.embedded.s3.protocol.body import read_document
from lapel.embedded.s3.protocol.call import SignedCall
from lapel.embedded.s3.protocol.xml import delete_result, document, moment, read, tag, url_or_plain
from lapel.embedded.s3.s3_errors import S3Error

MAX_KEYS = 1000


async def list_buckets(call: SignedCall) -> None:
    """Answer ListBuckets."""

    def collect() -> str:
        return "".join(
            f"<Bucket>{tag('Name', bucket.name)}"
            f"{tag('CreationDate', moment(int(bucket.tree.stat().st_ctime * 1000)))}</Bucket>"
            for bucket in call.folder.buckets()
        )

    buckets = await call.folder.in_thread(collect)
    owner = f"<Owner>{tag('ID', 'lapel')}</Owner>"
    await call.request.answer(
        200, body=document("ListAllMyBucketsResult", owner, f"<Buckets>{buckets}</Buckets>")
    )


async def create_bucket(call: SignedCall) -> None:
    """Answer CreateBucket; an existing bucket is not an error, as in S3's us-east-1."""
    await read_document(call)
    call.folder.require_space(0)
    await call.folder.in_thread(call.bucket.create)
    await call.request.answer(200, [(b"location", f"/{call.bucket.name}".encode())])


async def head_bucket(call: SignedCall) -> None:
    """Answer HeadBucket; the caller has checked that the bucket exists."""
    await call.request.answer(200)


async def locate_bucket(call: SignedCall) -> None:
    """Answer GetBucketLocation with an empty location, as S3 does for us-east-1."""
    await call.request.answer(200, body=document("LocationConstraint"))


async def list_objects(call: SignedCall) -> None:
    """Answer ListObjectsV2. Raises `S3Error` for the older listing, and for parameters that are not valid."""
    query = call.request.query
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    limit_text = query.get("max-keys", str(MAX_KEYS))
    encoding = query.get("encoding-type")
    if query["list-type"] != "2":
        raise S3Error("NotImplemented", "This store lists with list-type=2 only.")
    if encoding not in {None, "url"} or not re.fullmatch(r"[0-9]{1,9}", limit_text):
        raise S3Error("InvalidArgument", "encoding-type is url, max-keys a number.")
    token = query.get("continuation-token")
    after = query.get("start-after", "") if token is None else _read_token(token)
    limit = min(int(limit_text), MAX_KEYS)
    page = await call.folder.in_thread(list_page, call.bucket, prefix, delimiter, after, limit)
    content = [
        tag("Name", call.bucket.name),
        tag("Prefix", url_or_plain(encoding, prefix)),
        tag("MaxKeys", limit),
        tag("KeyCount", len(page.objects) + len(page.prefixes)),
        tag("IsTruncated", "false" if page.next_after is None else "true"),
    ]
    if delimiter:
        content.append(tag("Delimiter", url_or_plain(encoding, delimiter)))
    if encoding is not None:
        content.append(tag("EncodingType", encoding))
    if token is not None:
        content.append(tag("ContinuationToken", token))
    if "start-after" in query:
        content.append(tag("StartAfter", url_or_plain(encoding, query["start-after"])))
    if page.next_after is not None:
        content.append(tag("NextContinuationToken", urlsafe_b64encode(page.next_after.encode()).decode()))
    await call.request.answer(200, body=document("ListBucketResult", *content, *_entries(page, encoding)))


def _entries(page: ListingPage, encoding: str | None) -> list[str]:
    entries: list[str] = []
    for key, facts in page.objects:
        values = (
            tag("Key", url_or_plain(encoding, key)),
            tag("LastModified", moment(facts.modified)),
            tag("ETag", f'"{facts.etag}"'),
            tag("Size", facts.size),
            tag("StorageClass", "STANDARD"),
        )
        entries.append(f"<Contents>{''.join(values)}</Contents>")
    return entries + [
        f"<CommonPrefixes>{tag('Prefix', url_or_plain(encoding, prefix))}</CommonPrefixes>"
        for prefix in page.prefixes
    ]


def _read_token(token: str) -> str:
    try:
        return b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (Base64Error, ValueError):
        raise S3Error("InvalidArgument", "The continuation token is not one of this store.") from None


async def delete_many(call: SignedCall) -> None:
    """Answer DeleteObjects, 1 to 1,000 objects. Raises `S3Error` for another document, or for a version."""
    bucket = call.bucket
    root = read(await read_document(call), "Delete")
    objects = root.all("Object")
    if not 1 <= len(objects) <= MAX_KEYS:
        raise S3Error("MalformedXML", f"DeleteObjects takes 1 to {MAX_KEYS} objects.")
    if any(each.value("VersionId") for each in objects):
        raise S3Error("NotImplemented", "This store keeps no versions.")
    keys = [each.value("Key") or "" for each in objects]
    if "" in keys:
        raise S3Error("MalformedXML", "An object has no key.")

    def delete_all() -> tuple[list[str], list[tuple[str, S3Error]]]:
        deleted: list[str] = []
        errors: list[tuple[str, S3Error]] = []
        for key in keys:
            try:
                delete_object(Path(bucket.path_of(check_key(key.encode()))), bucket.tree)
            except S3Error as error:
                errors.append((key, error))
            else:
                deleted.append(key)
        return deleted, errors

    deleted, errors = await call.folder.in_thread(delete_all)
    quiet = (root.value("Quiet") or "").strip() == "true"
    await call.request.answer(200, body=delete_result([] if quiet else deleted, errors))


async def put_cors(call: SignedCall) -> None:
    """Answer PutBucketCors."""
    body = await read_document(call)
    await call.folder.in_thread(cors.store_rules, call.bucket, body)
    await call.request.answer(200)


async def get_cors(call: SignedCall) -> None:
    """Answer GetBucketCors with the rules that apply; these may be the default rules."""
    await call.request.answer(200, body=cors.show_rules(cors.rules_of(call.bucket)))


async def delete_cors(call: SignedCall) -> None:
    """Answer DeleteBucketCors: the default rules apply again."""
    await call.folder.in_thread(cors.forget_rules, call.bucket)
    await call.request.answer(204)
