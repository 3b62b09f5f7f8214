"""A small S3 endpoint over a folder, as an ASGI application.

Every request is checked in the same order: path and query, signature, whether this store serves the call,
then the call's own parameters. A call that this store does not serve is refused and has no effect.

Source: Amazon S3 API reference.

docs/decisions/0012 gives the reasons.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from lapel.embedded.s3.calls import buckets, cors, multipart, read, write
from lapel.embedded.s3.calls.metadata import OVERRIDES
from lapel.embedded.s3.files.folder import Folder, valid_bucket
from lapel.embedded.s3.files.paths import check_key
from lapel.embedded.s3.protocol.call import MAX_OBJECT, SignedCall
from lapel.embedded.s3.protocol.mismatch import NOWHERE, SignedElsewhere
from lapel.embedded.s3.protocol.request import Request
from lapel.embedded.s3.protocol.signature import Signed, Verifier
from lapel.embedded.s3.s3_errors import S3Error, SenderGone
from lapel.foundation.core.actors import ANONYMOUS
from lapel.foundation.core.asgi import Receive, Scope, Send
from lapel.foundation.core.clock import Clock
from lapel.foundation.core.disk_guard import is_disk_full
from lapel.foundation.core.request_id import REQUEST_HEADERS, REQUEST_ID
from lapel.foundation.http.protocols import Observer

_log = logging.getLogger(__name__)


class _Operation(NamedTuple):
    """A call that this store serves. Required parameters tell it apart from other calls of its method."""

    handle: Callable[[SignedCall], Awaitable[None]]
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    needs_bucket: bool = True


async def _put_or_copy(call: SignedCall) -> None:
    handle = write.copy_object if b"x-amz-copy-source" in call.request.headers else write.put_object
    await handle(call)


_UPLOAD = frozenset({"uploadId"})
_PART = frozenset({"uploadId", "partNumber"})
_LIST = frozenset(
    {"prefix", "delimiter", "max-keys", "continuation-token", "start-after", "encoding-type", "fetch-owner"}
)
_ON_SERVICE = {"GET": (_Operation(buckets.list_buckets, needs_bucket=False),)}
_ON_BUCKET = {
    "GET": (
        _Operation(buckets.list_objects, frozenset({"list-type"}), _LIST),
        _Operation(buckets.get_cors, frozenset({"cors"})),
        _Operation(buckets.locate_bucket, frozenset({"location"})),
    ),
    "HEAD": (_Operation(buckets.head_bucket),),
    "PUT": (
        _Operation(buckets.create_bucket, needs_bucket=False),
        _Operation(buckets.put_cors, frozenset({"cors"})),
    ),
    "POST": (_Operation(buckets.delete_many, frozenset({"delete"})),),
    "DELETE": (_Operation(buckets.delete_cors, frozenset({"cors"})),),
}
# Reads are the most frequent calls: a read checks the bucket only if it finds no object.
_READ = _Operation(read.read_object, optional=OVERRIDES, needs_bucket=False)
_ON_OBJECT = {
    "GET": (
        _READ,
        _Operation(multipart.list_parts, _UPLOAD, frozenset({"max-parts", "part-number-marker"})),
    ),
    "HEAD": (_READ,),
    "PUT": (_Operation(_put_or_copy), _Operation(multipart.put_part, _PART)),
    "POST": (
        _Operation(multipart.create_upload, frozenset({"uploads"})),
        _Operation(multipart.complete_upload, _UPLOAD),
    ),
    "DELETE": (_Operation(write.delete_one), _Operation(multipart.abort_upload, _UPLOAD)),
}


def _find(table: Mapping[str, Sequence[_Operation]], request: Request) -> _Operation:
    operations = table.get(request.method)
    if operations is None:
        raise S3Error("MethodNotAllowed", f"{request.method} does nothing here.")
    names = request.target.query.selecting
    for operation in operations:
        if names - operation.optional == operation.required:
            return operation
    raise S3Error("NotImplemented", "This store does not serve this call, or not with these parameters.")


class _Called(NamedTuple):
    """A method of the store, as logs and metrics name it."""

    name: str
    logs_each: bool = False


_CALLED = {
    "GET": _Called("store_get"),
    "HEAD": _Called("store_head"),
    "OPTIONS": _Called("store_options"),
    "PUT": _Called("store_put", logs_each=True),
    "POST": _Called("store_post", logs_each=True),
    "DELETE": _Called("store_delete", logs_each=True),
}


class StoreApp:
    """The ASGI application; `create_store_app` makes one."""

    def __init__(
        self,
        folder: Folder,
        verifier: Verifier,
        prefix: str,
        stall: float,
        ceilings: Mapping[str, int],
        observe: Observer | None,
    ) -> None:
        self._observe = observe
        self._folder = folder
        self._ceilings = ceilings
        self._verifier = verifier
        self._prefix = prefix.encode()
        self._stall = stall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; `lifespan` events are confirmed, and nothing is done for them.

        Raises `S3Error` when an answer that has begun cannot be finished; then the server must hang up.
        """
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        request = Request(scope, receive, send, secrets.token_hex(8).upper())
        REQUEST_ID.set(request.id)
        REQUEST_HEADERS.set(scope["headers"])
        code = None
        try:
            code = await self._answer(request)
        finally:
            self._report(request, code)

    async def _answer(self, request: Request) -> str | None:
        """Answer a request. Returns the code of the error that the answer tells."""
        try:
            await self._serve(request)
        except SenderGone:
            _log.debug("client gone", extra={"request_id": request.id})
        except S3Error as error:
            await _refuse(request, error)
            return error.code
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            if is_disk_full(error):
                refusal = S3Error("InsufficientStorage", "The disk is full; nothing was kept.")
            else:
                refusal = S3Error("InternalError", "The store could not do this; try again.")
            _log.exception("store request failed", extra={"request_id": request.id})
            await _refuse(request, refusal)
            return refusal.code
        return None

    def _report(self, request: Request, code: str | None) -> None:
        """Report an answer to logs and metrics. `code`: of the error that it tells."""
        if self._observe is None or not request.started:
            return
        if request.method == "HEAD" and request.status == HTTPStatus.NOT_FOUND:
            return  # it asks whether there is an object; each check of the store does
        called = _CALLED.get(request.method)
        self._observe(called, request.method, request.status, request.seconds, ANONYMOUS, code)

    async def _serve(self, request: Request) -> None:
        signed = self._verifier.recall(request)
        if signed is None:
            request.read_target(self._prefix)
        if b"origin" in request.headers:
            await self._apply_cors(request)
            if request.method == "OPTIONS":
                await request.answer(200)
                return
        signed = signed or self._verifier.verify(request)
        target = request.target
        if not target.bucket:
            table, key = _ON_SERVICE, ""
        else:
            table, key = (_ON_OBJECT, check_key(target.key_bytes)) if target.key_bytes else (_ON_BUCKET, "")
        operation = _find(table, request)
        bucket = self._folder.bucket(target.bucket or "none")
        if operation.needs_bucket and not bucket.exists():
            raise S3Error("NoSuchBucket", "There is no such bucket.")
        largest = self._largest(request, signed)
        await operation.handle(SignedCall(request, signed, self._folder, bucket, key, self._stall, largest))

    def _largest(self, request: Request, signed: Signed) -> int:
        """The most bytes of a PUT; for a link that signs the Content-Type, the limit of this media type."""
        if request.target.link_signature is None or "content-type" not in signed.headers:
            return MAX_OBJECT
        kind = (request.header("content-type") or "").partition("/")[0]
        return min(self._ceilings.get(kind, MAX_OBJECT), MAX_OBJECT)

    async def _apply_cors(self, request: Request) -> None:
        """Add the headers that let a web page read the answer; raises `S3Error` for a refused preflight."""
        preflight = request.method == "OPTIONS"
        method, asked = request.method, None
        if preflight:
            method = request.header("access-control-request-method") or ""
            text = request.header("access-control-request-headers") or ""
            asked = [name.strip() for name in text.split(",") if name.strip()]
        if valid_bucket(request.target.bucket):
            bucket = self._folder.bucket(request.target.bucket)
            rules = await self._folder.in_thread(cors.rules_of, bucket)
            headers = cors.allow(rules, request.header("origin") or "", method, asked)
            if headers is not None:
                request.cors = headers
                return
        if preflight:
            raise S3Error("AccessDenied", "No CORS rule of the bucket allows this request of this origin.")


async def _refuse(request: Request, error: S3Error) -> None:
    # Too late for an error answer: close the connection, or the client takes the body for complete.
    if request.started:
        raise error
    target = request.target
    resource = f"/{target.bucket}/{target.key_bytes.decode('utf-8', 'replace')}"
    await request.answer(error.status, list(error.headers), error.body(resource, request.id))


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def create_store_app(  # noqa: PLR0913  # each is a setting of its own
    root: Path,
    credentials: Mapping[str, str],
    *,
    clock: Clock,
    region: str = "us-east-1",
    path_prefix: str = "",
    buckets: Sequence[str] = (),
    min_free_bytes: int = 1 << 30,
    stall_seconds: float = 60,
    ceilings: Mapping[str, int] | None = None,
    threads: int = 8,
    elsewhere: SignedElsewhere = NOWHERE,
    observe: Observer | None = None,
) -> StoreApp:
    """Make the store over a folder. Blocks for a moment: it removes what killed processes left behind.

    `credentials` maps access keys to secrets; every key may do everything. `path_prefix` (such as `/store`)
    begins all paths if the application is mounted beside another one; clients sign the prefix too. `buckets`
    that do not exist are made. A PUT is refused (507) if it would leave less than `min_free_bytes`, or 5 % of
    the disk, free. A client may pause for `stall_seconds`. `ceilings`: the most bytes of a pre-signed PUT, by
    the part of its Content-Type before the slash (`audio`); other types have S3's 5 GiB. Any number of
    processes may serve the same folder. `elsewhere`: what links may be signed for, so that an answer can say
    why a signature does not match. `observe` is called for each answer but 404 to HEAD.

    Raises `S3Error` for a bucket name that S3 does not allow.
    """
    folder = Folder(root, clock, min_free_bytes, threads)
    for name in buckets:
        folder.bucket(name).create()
    for bucket in folder.buckets():
        multipart.sweep_uploads(bucket, folder.now())
    return StoreApp(
        folder,
        Verifier(credentials, region, clock, elsewhere),
        path_prefix.rstrip("/"),
        stall_seconds,
        ceilings or {},
        observe,
    )
