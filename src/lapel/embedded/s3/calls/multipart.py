"""Uploads in parts: each part is a file like that of an object; completing joins the parts into the object.

An upload is a folder below the bucket's `uploads`, named by its id, with `upload.json` and `<number>.part`.

Handlers raise `S3Error` for a request that they refuse, `SenderGone` when the client hangs up.
Source: Amazon S3 API reference, under the name of each call (CreateMultipartUpload, UploadPart, …).
"""

import hashlib
import re
import secrets
import shutil
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import msgspec

from lapel.embedded.s3.calls.metadata import checksum_headers, kept_headers, refuse_unserved
from lapel.embedded.s3.calls.write import only_new
from lapel.embedded.s3.files.durable import make_folders, replace_file, sync_folder
from lapel.embedded.s3.files.folder import Bucket
from lapel.embedded.s3.files.objects import FileWriter, ObjectFacts, StoredObject, open_object
from lapel.embedded.s3.protocol.body import IncomingBody, read_document
from lapel.embedded.s3.protocol.call import SignedCall
from lapel.embedded.s3.protocol.request import Request
from lapel.embedded.s3.protocol.xml import Element, document, moment, read, tag
from lapel.embedded.s3.s3_errors import S3Error

MAX_PARTS = 10_000
MIN_PART = 5 << 20
KEEP_UPLOADS = 7 * 24 * 3600 * 1000
"""Milliseconds: a start removes the incomplete uploads that got no part for so long."""
_ID = re.compile(r"[0-9a-f]{32}")


class _Plan(msgspec.Struct, frozen=True):
    """The object's properties at the creation of its upload. `started`: milliseconds since 1970."""

    key: str
    started: int
    content_type: str
    headers: dict[str, str]
    user: dict[str, str]


def _upload_folder(call: SignedCall) -> Path:
    upload_id = call.request.query["uploadId"]
    if not _ID.fullmatch(upload_id):
        raise _missing()
    return call.bucket.uploads / upload_id


def _plan(folder: Path, key: str) -> _Plan:
    try:
        plan = msgspec.json.decode((folder / "upload.json").read_bytes(), type=_Plan)
    except FileNotFoundError:
        raise _missing() from None
    if plan.key != key:
        raise _missing()
    return plan


def _missing() -> S3Error:
    return S3Error("NoSuchUpload", "There is no such upload: never created, completed or aborted.")


async def create_upload(call: SignedCall) -> None:
    """Answer CreateMultipartUpload."""
    request, folder, bucket = call.request, call.folder, call.bucket
    refuse_unserved(request)
    await read_document(call)
    plan = _Plan(call.key, folder.now(), *kept_headers(request, call.signed))
    upload_id = secrets.token_hex(16)

    def create() -> None:
        place = bucket.uploads / upload_id
        make_folders(place)
        replace_file(place / "upload.json", msgspec.json.encode(plan))

    folder.require_space(0)
    await folder.in_thread(create)
    content = tag("Bucket", bucket.name), tag("Key", call.key), tag("UploadId", upload_id)
    await request.answer(200, body=document("InitiateMultipartUploadResult", *content))


async def put_part(call: SignedCall) -> None:
    """Answer UploadPart: store the body as a PUT does, but in the folder of the multipart upload.

    A part replaces the earlier part of the same number. Raises `S3Error` for an invalid part number, for an
    unknown upload, and for a body that a PUT refuses.
    """
    request, folder = call.request, call.folder
    text = request.query["partNumber"]
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_PARTS:
        raise S3Error("InvalidArgument", f"A part's number is 1 to {MAX_PARTS}.")
    place = _upload_folder(call)
    await folder.in_thread(_plan, place, call.key)
    upload = IncomingBody(call)
    with await upload.receive() as writer:
        facts = ObjectFacts(
            size=upload.size,
            etag=upload.digests.etag(),
            modified=folder.now(),
            content_type="",
            checksums=upload.verified_checksums(),
        )
        await folder.in_thread(_keep_part, place, call.key, writer, int(text), facts)
    await request.answer(200, [(b"etag", b'"%s"' % facts.etag.encode()), *checksum_headers(facts.checksums)])


def _keep_part(place: Path, key: str, writer: FileWriter, number: int, facts: ObjectFacts) -> None:
    """Put a part into its upload's folder. The folder of an aborted upload is not made again."""
    _plan(place, key)
    writer.commit(place / f"{number}.part", facts)
    try:
        _plan(place, key)
    except S3Error:  # aborted at the same moment
        shutil.rmtree(place, ignore_errors=True)
        raise


async def complete_upload(call: SignedCall) -> None:
    """Answer CompleteMultipartUpload: join the parts in the order of the request, and store the object.

    Raises `S3Error` when there is no such upload, when a part is missing, replaced or too small, and when the
    request has a checksum of the whole object.
    """
    request = call.request
    if any(name.startswith(b"x-amz-checksum-") for name in request.headers):
        raise S3Error(
            "NotImplemented", "A checksum of the whole object cannot be checked when joining parts."
        )
    wanted = _wanted_parts(read(await read_document(call), "CompleteMultipartUpload"))
    must_be_new = only_new(request)
    facts = await call.folder.in_thread(_complete, call, _upload_folder(call), wanted, must_be_new)
    content = tag("Bucket", call.bucket.name), tag("Key", call.key), tag("ETag", f'"{facts.etag}"')
    await request.answer(200, body=document("CompleteMultipartUploadResult", *content))


def _wanted_parts(root: Element) -> list[tuple[int, str]]:
    """Return number and ETag of the parts that a client wants joined."""
    wanted: list[tuple[int, str]] = []
    for part in root.all("Part"):
        number, etag = part.value("PartNumber") or "", part.value("ETag") or ""
        if not re.fullmatch(r"[0-9]{1,5}", number.strip()):
            raise S3Error("MalformedXML", "A part has no number.")
        wanted.append((int(number), etag.strip().strip('"')))
    if not wanted or len(wanted) > MAX_PARTS:
        raise S3Error("MalformedXML", f"An upload has 1 to {MAX_PARTS} parts.")
    if any(left[0] >= right[0] for left, right in pairwise(wanted)):
        raise S3Error("InvalidPartOrder", "The parts are not in ascending order.")
    return wanted


def _complete(call: SignedCall, place: Path, wanted: list[tuple[int, str]], must_be_new: bool) -> ObjectFacts:
    folder, bucket = call.folder, call.bucket
    plan = _plan(place, call.key)
    parts = [(number, etag, _part_facts(place, number)) for number, etag in wanted]
    for position, (number, etag, facts) in enumerate(parts):
        if facts is None or facts.etag != etag:
            raise S3Error("InvalidPart", f"Part {number} was not uploaded, or has another ETag.")
        if facts.size < MIN_PART and position < len(parts) - 1:
            raise S3Error("EntityTooSmall", f"Part {number} is not the last one and below {MIN_PART} bytes.")
    folder.require_space(sum(facts.size for _, _, facts in parts if facts is not None))
    digest = hashlib.md5(
        b"".join(bytes.fromhex(etag.partition("-")[0]) for _, etag in wanted), usedforsecurity=False
    ).hexdigest()
    with FileWriter(bucket.temporary) as writer:
        size = 0
        for number, etag, _ in parts:
            with _open_part(place, number) as part:
                if part.facts.etag != etag:
                    raise S3Error("InvalidPart", f"Part {number} was replaced meanwhile.")
                writer.copy_from(part)
                size += part.facts.size
        whole = ObjectFacts(
            size=size,
            etag=f"{digest}-{len(parts)}",
            modified=folder.now(),
            content_type=plan.content_type,
            headers=plan.headers,
            user=plan.user,
        )
        writer.commit(Path(bucket.path_of(call.key)), whole, only_new=must_be_new)
    _remove(place)
    return whole


def _remove(place: Path) -> None:
    """Remove an upload, its plan first. A part that arrives later finds no plan, and its own request removes
    that part. Earlier parts are removed here."""
    (place / "upload.json").unlink(missing_ok=True)
    shutil.rmtree(place, ignore_errors=True)


def _open_part(place: Path, number: int) -> StoredObject:
    part = open_object(f"{place}/{number}.part")
    if part is None:
        raise S3Error("InvalidPart", f"Part {number} was not uploaded.")
    return part


def _part_facts(place: Path, number: int) -> ObjectFacts | None:
    part = open_object(f"{place}/{number}.part")
    if part is None:
        return None
    part.close()
    return part.facts


async def abort_upload(call: SignedCall) -> None:
    """Answer AbortMultipartUpload."""
    place = _upload_folder(call)

    def abort() -> None:
        _plan(place, call.key)
        _remove(place)
        sync_folder(call.bucket.uploads)

    await call.folder.in_thread(abort)
    await call.request.answer(204)


async def list_parts(call: SignedCall) -> None:
    """Answer ListParts."""
    request, place = call.request, _upload_folder(call)
    limit = min(_number(request, "max-parts", 1000), 1000)
    after = _number(request, "part-number-marker", 0)

    def collect() -> list[tuple[int, ObjectFacts]]:
        _plan(place, call.key)
        numbers = sorted(int(path.stem) for path in place.glob("*.part"))
        found = ((number, _part_facts(place, number)) for number in numbers if number > after)
        return [(number, facts) for number, facts in found if facts is not None]

    parts = await call.folder.in_thread(collect)
    shown = parts[:limit]
    content = [
        tag("Bucket", call.bucket.name),
        tag("Key", call.key),
        tag("UploadId", request.query["uploadId"]),
        tag("PartNumberMarker", after),
        tag("MaxParts", limit),
        tag("IsTruncated", "true" if len(parts) > limit else "false"),
    ]
    if len(parts) > limit and shown:
        content.append(tag("NextPartNumberMarker", shown[-1][0]))
    for number, facts in shown:
        values = (
            tag("PartNumber", number),
            tag("LastModified", moment(facts.modified)),
            tag("ETag", '"' + facts.etag + '"'),
            tag("Size", facts.size),
        )
        content.append(f"<Part>{''.join(values)}</Part>")
    await request.answer(200, body=document("ListPartsResult", *content))


def _number(request: Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise S3Error("InvalidArgument", f"{name} is not a number.")
    return int(text)


def sweep_uploads(bucket: Bucket, now: int) -> int:
    """Remove uploads that were not completed in time; return how many. `now`: milliseconds since 1970."""
    removed = 0
    for place in bucket.uploads.iterdir():
        with suppress(FileNotFoundError):
            if now - place.stat().st_mtime * 1000 > KEEP_UPLOADS:
                shutil.rmtree(place, ignore_errors=True)
                removed += 1
    return removed
