"""PUT, DELETE and copy of an object (PutObject, DeleteObject and CopyObject of the Amazon S3 API reference).

Handlers raise `S3Error` for a request that they refuse, `SenderGone` when the client hangs up.
"""

from pathlib import Path
from urllib.parse import unquote_to_bytes

import msgspec

from lapel.embedded.s3.calls.metadata import checksum_headers, kept_headers, refuse_unserved
from lapel.embedded.s3.calls.read import conditions, open_existing
from lapel.embedded.s3.files.folder import Bucket
from lapel.embedded.s3.files.objects import FileWriter, ObjectFacts, StoredObject, delete_object
from lapel.embedded.s3.files.paths import check_key
from lapel.embedded.s3.protocol.body import IncomingBody
from lapel.embedded.s3.protocol.call import SignedCall
from lapel.embedded.s3.protocol.checksums import algorithm_for_copy, checksum_of
from lapel.embedded.s3.protocol.request import Request
from lapel.embedded.s3.protocol.xml import copy_result
from lapel.embedded.s3.s3_errors import S3Error

_COPY_SOURCE = b"x-amz-copy-source-"


def only_new(request: Request) -> bool:
    """Whether the PUT must not replace an object. Raises `S3Error` for other conditions."""
    condition = request.header("if-none-match")
    if condition not in {None, "*"}:
        raise S3Error("NotImplemented", "A PUT takes If-None-Match: * and no other.")
    return condition is not None


async def put_object(call: SignedCall) -> None:
    """Store the body. The object becomes visible after all checks, when its bytes are on the disk.

    Raises `S3Error` when the body is not as announced, the disk is nearly full, or the object exists although
    it must be new.
    """
    request, folder, bucket = call.request, call.folder, call.bucket
    refuse_unserved(request)
    content_type, headers, user = kept_headers(request, call.signed)
    must_be_new = only_new(request)
    destination = Path(bucket.path_of(call.key))
    upload = IncomingBody(call)
    if must_be_new and await folder.in_thread(destination.exists):  # refuse before the client sends the body
        raise S3Error("PreconditionFailed", "An object with this key exists.")
    with await upload.receive() as writer:
        facts = ObjectFacts(
            size=upload.size,
            etag=upload.digests.etag(),
            modified=folder.now(),
            content_type=content_type,
            headers=headers,
            user=user,
            checksums=upload.verified_checksums(),
        )
        await folder.in_thread(writer.commit, destination, facts, only_new=must_be_new)
    await request.answer(200, [(b"etag", b'"%s"' % facts.etag.encode()), *checksum_headers(facts.checksums)])


async def delete_one(call: SignedCall) -> None:
    """Remove an object durably before the answer. A missing object is not an error."""
    bucket = call.bucket
    await call.folder.in_thread(delete_object, Path(bucket.path_of(call.key)), bucket.tree)
    await call.request.answer(204)


def copy_source(request: Request) -> tuple[str, str]:
    """Return bucket and key that x-amz-copy-source names. Raises `S3Error` when it names no object."""
    text = request.header("x-amz-copy-source") or ""
    if "?" in text:
        raise S3Error("NotImplemented", "This store keeps no versions to copy from.")
    bucket, _, key = unquote_to_bytes(text.removeprefix("/")).partition(b"/")
    if not key:
        raise S3Error("InvalidArgument", "x-amz-copy-source is not bucket/key.")
    return bucket.decode("ascii", "replace"), check_key(key)


async def copy_object(call: SignedCall) -> None:
    """Copy the present version of an object, with the source's metadata or the request's.

    With x-amz-checksum-algorithm, the checksum of the copied bytes replaces those of the source.

    Raises `S3Error` when there is no such source, a condition is not met, or the disk is nearly full.
    """
    request, folder, bucket = call.request, call.folder, call.bucket
    refuse_unserved(request)
    directive = request.header("x-amz-metadata-directive") or "COPY"
    if directive not in {"COPY", "REPLACE"}:
        raise S3Error("InvalidArgument", "x-amz-metadata-directive is COPY or REPLACE.")
    algorithm = algorithm_for_copy(request)
    source_bucket, source_key = copy_source(request)
    if directive == "COPY" and (source_bucket, source_key) == (bucket.name, call.key):
        raise S3Error("InvalidRequest", "A copy onto itself must replace the metadata.")
    must_be_new = only_new(request)
    source_of = folder.bucket(source_bucket)
    with await open_existing(folder, source_of, source_of.path_of(source_key)) as source:
        check_copy_conditions(request, source.facts)
        folder.require_space(source.facts.size)
        old = source.facts
        content_type, headers, user = old.content_type, old.headers, old.user
        if directive == "REPLACE":
            content_type, headers, user = kept_headers(request, call.signed)
        facts = ObjectFacts(
            size=old.size,
            etag=old.etag,
            modified=folder.now(),
            content_type=content_type,
            headers=headers,
            user=user,
            checksums=old.checksums,
        )
        path = Path(bucket.path_of(call.key))
        facts = await folder.in_thread(_copy, bucket, source, path, facts, algorithm, must_be_new=must_be_new)
    await request.answer(200, body=copy_result(facts))


def _copy(
    bucket: Bucket,
    source: StoredObject,
    destination: Path,
    facts: ObjectFacts,
    algorithm: str | None,
    *,
    must_be_new: bool,
) -> ObjectFacts:
    with FileWriter(bucket.temporary) as writer:
        writer.copy_from(source)
        if algorithm is not None:  # of the bytes that were written, not of those that were to be
            checksums = {algorithm: checksum_of(writer.pieces(), algorithm)}
            facts = msgspec.structs.replace(facts, checksums=checksums)
        writer.commit(destination, facts, only_new=must_be_new)
    return facts


def check_copy_conditions(request: Request, facts: ObjectFacts) -> None:
    """Raise `S3Error` PreconditionFailed if the source does not meet the x-amz-copy-source-if-* headers."""
    moved = {
        name.removeprefix(_COPY_SOURCE): value
        for name, value in request.headers.items()
        if name.startswith(_COPY_SOURCE)
    }
    if conditions(moved, facts) == 304:
        raise S3Error("PreconditionFailed", "The source does not meet the conditions.")
