"""Releases: firmware files, uploaded as a stream, that never change afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.core.admission import Admission, NoRoom, TooSlow
from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import InvalidRequest, NotFound, ResourceAlreadyExists, Unavailable
from lapel.foundation.database import audit
from lapel.foundation.http.input.pagination import page, window
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.foundation.storage.object_names import firmware_key
from lapel.slices.devices.service import find_device
from lapel.slices.firmware import queries
from lapel.slices.firmware.views import release_of
from lapel.slices.firmware.wire import FirmwareDownload, ReleasePage

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.http.input.forms import Form
    from lapel.foundation.ports import Ports
    from lapel.foundation.storage.links import Link
    from lapel.slices.firmware.wire import DownloadQuery, Release, ReleaseQuery, UploadRelease

# Long enough for the largest file over a slow connection; each heartbeat brings a new link.
LINK_SECONDS = 3600
# Half of `sweeps.ORPHAN_GRACE`, after which the sweep deletes objects without rows.
LONGEST_UPLOAD = timedelta(hours=12)
# Each upload holds some parts of an object in memory.
_UPLOADS_AT_ONCE = 8
_UPLOADS_OF_ONE_WORLD = 2
# Seconds that an upload waits for a place. It takes less time to detect a running upload that is too slow.
_PATIENCE = 8.0
# Bytes per second that an upload must bring while other uploads wait for a place.
LEAST_RATE = 64 * 1024
# Seconds to delete the files of a refused upload. If it takes longer, the sweep deletes them.
_TIDY_SECONDS = 10.0


class _ReleaseFile:
    """An uploaded file; size, SHA-256 and CRC-32 are computed while its bytes arrive."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.size = 0
        self._crc32 = 0
        self._sha256 = hashlib.sha256()

    def add(self, piece: bytes) -> None:
        """Add the next bytes. Blocks while it hashes."""
        self._sha256.update(piece)
        self._crc32 = zlib.crc32(piece, self._crc32)
        self.size += len(piece)

    @property
    def sha256(self) -> str:
        """SHA-256 (FIPS 180-4), hexadecimal."""
        return self._sha256.hexdigest()

    @property
    def crc32(self) -> str:
        """CRC-32 as of IEEE 802.3, eight hexadecimal digits."""
        return f"{self._crc32:08x}"

    @property
    def received(self) -> queries.NewFile:
        """The key, and the size and hashes of the bytes that have arrived."""
        return queries.NewFile(self.key, self.size, self.sha256, self.crc32)


class Releases:
    """Operations on releases.

    Methods that open a connection raise Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self.max_bytes = ports.settings.max_firmware_bytes
        self.uploads = Admission(_UPLOADS_AT_ONCE, _UPLOADS_OF_ONE_WORLD, patience=_PATIENCE)

    async def upload(self, actor: Actor, form: Form[UploadRelease]) -> Release:
        """Store a release. It is not offered to devices yet.

        The objects are written before their row, so a row always has its objects.

        Raises:

        - InvalidRequest when the form is malformed, lacks `bin`, has a `bin` that differs from the declared
          values, or took longer than `LONGEST_UPLOAD`.
        - PayloadTooLarge beyond a limit.
        - ResourceAlreadyExists when the model has this version.
        - Unavailable when no place is free, when the upload is too slow while others wait, or when the
          database is unavailable.
        - StoreUnavailable when the store is unavailable.
        """
        try:
            async with self.uploads.place(actor.world_id) as place:
                place.least_rate, place.moved = LEAST_RATE, form.moved
                return await self._upload(actor, form)
        except NoRoom:
            raise Unavailable(
                "Too many firmware uploads are in progress. Repeat the request.", retry_after=5
            ) from None
        except TooSlow:
            raise Unavailable(
                f"Other uploads waited, and this one was slower than {LEAST_RATE} bytes a second. Repeat the "
                "request over a faster connection, or when fewer uploads are in progress.",
                retry_after=30,
            ) from None

    async def _upload(self, actor: Actor, form: Form[UploadRelease]) -> Release:
        now, release_id = self._ports.clock.now(), self._ports.ids.new("fw")
        files: dict[str, _ReleaseFile] = {}
        crash_point("firmware:begin")
        try:
            body = await self._receive(actor, release_id, form, files)
        except BaseException:  # also when the client disconnects or is too slow, or the server stops
            await self._forget(files)
            raise
        crash_point("firmware:stored")
        try:
            return await self._insert(actor, release_id, body, files, now)
        except (InvalidRequest, ResourceAlreadyExists):  # after any other error the row may be committed
            await self._forget(files)
            raise

    async def _receive(
        self, actor: Actor, release_id: str, form: Form[UploadRelease], files: dict[str, _ReleaseFile]
    ) -> UploadRelease:
        while (kind := await form.next_file()) is not None:
            files[kind] = _ReleaseFile(firmware_key(actor.project_id, release_id, kind))
            await self._store(form, files[kind])
        body = form.fields()
        _check_files(body, files)
        return body

    async def _store(self, form: Form[UploadRelease], file: _ReleaseFile) -> None:
        async with self._ports.store.writing(file.key) as target:
            while piece := await form.read():
                await asyncio.to_thread(file.add, piece)
                await target.write(piece)
                crash_point("firmware:writing")

    async def _insert(
        self,
        actor: Actor,
        release_id: str,
        body: UploadRelease,
        files: dict[str, _ReleaseFile],
        began: datetime,
    ) -> Release:
        now = self._ports.clock.now()
        if now - began > LONGEST_UPLOAD:
            raise InvalidRequest(
                "The upload took too long, so its first parts may be deleted already. Upload again."
            )
        ufw = files.get("ufw")
        new = queries.NewRelease(
            id=release_id,
            version=body.version,
            model=body.model,
            changelog=body.changelog,
            release_sequence=body.release_sequence,
            allow_downgrade=body.allow_downgrade,
            bin=files["bin"].received,
            ufw=None if ufw is None else ufw.received,
            created_at=now,
        )
        async with self._ports.database.transaction() as connection:
            row = await queries.insert_release(connection, actor.world_id, new)
            if row is None:
                raise ResourceAlreadyExists(
                    f"{body.model} has a release of version {body.version}, and firmware never changes.",
                    resource_id=await queries.find_release(
                        connection, actor.world_id, body.model, body.version
                    ),
                )
            await audit.note(connection, self._ports.ids, now, actor, "firmware.created", release_id, None)
            crash_point("firmware:before-commit")
        crash_point("firmware:committed")
        return release_of(row)

    async def _forget(self, files: dict[str, _ReleaseFile]) -> None:
        """Delete the objects of a refused upload, if the store answers in time."""
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(_TIDY_SECONDS):
                await self._ports.store.delete_many([file.key for file in files.values()])

    async def release(self, actor: Actor, release_id: str) -> Release:
        """Allow offers of a release, for good. Raises NotFound when there is no such release."""
        async with self._ports.database.transaction() as connection:
            now = self._ports.clock.now()
            row = await queries.release(connection, actor.world_id, release_id, now)
            if row is None:
                raise unknown_release()
            if row.released_at == now:
                await audit.note(
                    connection, self._ports.ids, now, actor, "firmware.released", release_id, None
                )
        return release_of(row)

    async def read(self, actor: Actor, release_id: str) -> Release:
        """One release. Raises NotFound when there is no such release."""
        async with self._ports.database.acquire() as connection:
            row = await queries.read_release(connection, actor.world_id, release_id)
        if row is None:
            raise unknown_release()
        return release_of(row)

    async def list(self, actor: Actor, query: ReleaseQuery) -> ReleasePage:
        """Newest first: the firmware that is released for a device's model, or all firmware.

        Raises NotFound when the caller reaches no such device, and InvalidRequest for a bad cursor.
        """
        asked = window(query.page, "firmware-releases")
        if query.device_id is None and actor.scoped_to is not None:
            return ReleasePage(data=[], has_more=False, next_cursor=None)
        async with self._ports.database.acquire() as connection:
            model = None
            if query.device_id is not None:
                device = await find_device(connection, actor.world_id, query.device_id, actor.scoped_to)
                model = device.model
            rows = await queries.list_releases(connection, actor.world_id, asked, model)
        data, has_more, next_cursor = page(rows, asked, release_of)
        if query.device_id is not None:
            return ReleasePage(data=data)
        return ReleasePage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def download(self, actor: Actor, release_id: str, query: DownloadQuery) -> FirmwareDownload:
        """A link to one file.

        Raises NotFound when there is no such release, and StoreUnavailable without credentials to sign with.
        """
        async with self._ports.database.acquire() as connection:
            row = await queries.read_files(connection, actor.world_id, release_id)
        if row is None:
            raise unknown_release()
        # A release without a `ufw` file answers with its `bin`.
        key, sha256, size = row.bin_object_key, row.bin_sha256, row.bin_file_size_bytes
        if query.type == "ufw":
            key, sha256 = row.ufw_object_key or key, row.ufw_sha256 or sha256
            size = row.ufw_file_size_bytes or size
        link = link_to(self._ports, key, row.model, row.version, self._ports.clock.now())
        return FirmwareDownload(
            download_url=link.url,
            version=row.version,
            sha256=sha256,
            file_size_bytes=size,
            expires_at=link.expires_at,
        )


def link_to(ports: Ports, key: str, model: str, version: str, now: datetime) -> Link:
    """Sign a link to a file of a release, without a request to the store.

    Raises StoreUnavailable without credentials to sign with.
    """
    kind = key.rpartition(".")[2]
    return ports.links.get(
        key,
        now=now,
        expires_in=LINK_SECONDS,
        content_type="application/octet-stream",
        disposition=f'attachment; filename="{model}-{version}.{kind}"',
    )


def unknown_release() -> NotFound:
    """The error for a release that the caller may not see or that does not exist."""
    return NotFound("There is no firmware release with this id.")


def _check_files(body: UploadRelease, files: dict[str, _ReleaseFile]) -> None:
    """Raises InvalidRequest when `bin` is missing or differs from its declared size or SHA-256."""
    binary = files.get("bin")
    if binary is None:
        raise InvalidRequest("The form has no file `bin`.", param="bin", reason="required")
    if body.bin_file_size_bytes not in (None, binary.size):
        raise InvalidRequest(
            f"{binary.size} bytes of `bin` arrived, and {body.bin_file_size_bytes} were declared.",
            param="bin_file_size_bytes",
        )
    if body.bin_sha256 not in (None, binary.sha256):
        raise InvalidRequest(
            f"The SHA-256 of the received `bin` is {binary.sha256}, but another one was declared.",
            param="bin_sha256",
        )
