"""upload-url: each call makes one attempt with a staging key of its own, and signs one link to that key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from lapel.foundation.core.clock import timestamp
from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Conflict, InvalidRequest
from lapel.foundation.core.rate_limit import RateLimit
from lapel.foundation.database import audit
from lapel.foundation.identity.tokens import new_token
from lapel.foundation.storage import object_names
from lapel.parsers import format_limit
from lapel.slices.recordings.access import unknown
from lapel.slices.recordings.content_types import content_type_for, largest
from lapel.slices.recordings.errors import UploadVerificationPending
from lapel.slices.recordings.records import record_queries
from lapel.slices.recordings.uploads import media_queries, media_states, token_lookup_queries
from lapel.slices.recordings.wire import Upload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.recordings.access import Reach
    from lapel.slices.recordings.uploads.media_states import MediaStatus
    from lapel.slices.recordings.wire import RecordingStatus, StartUpload

URL_SECONDS = 3600
UPLOAD_URLS = RateLimit("upload_url", lambda settings: settings.upload_urls_per_minute)
# The life of an upload token. A token that was issued to the holder of an upload token ends with that token.
TOKEN_LIFE = timedelta(hours=24)
# Limits the size of a recording's answer, and the work of one completion.
MAX_MEDIA = 500
# The most valid upload URLs of one media: far more than a client needs, even if it loses answers.
MAX_ATTEMPTS = 100
# Attempts whose URL ended longer ago are deleted, except the newest MAX_ATTEMPTS. These stay because a
# completion uses the newest attempt that has an object.
_FORGET_AFTER = timedelta(hours=25)


class BeforeUpload(Protocol):
    """A hook of another slice, called before a client uploads or completes media of a recording.

    It is called only while the recording is not uploaded. `end_user_id` and `device_id`: the recording's end
    user, and its device, if it has one. `binding_generation`: the device's binding to this end user at the
    announcement; None without a device, and if a key named a device that was not bound to the end user. The
    hook raises an error that the client sees, such as EncryptedUploadV2Required.
    """

    async def __call__(
        self,
        connection: Connection,
        world_id: int,
        end_user_id: str,
        device_id: str | None,
        binding_generation: int | None,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class _Declared:
    """The facts that are signed into a URL: content type, size in bytes, SHA-256 in hexadecimal."""

    content_type: str
    size: int | None
    sha256: str | None


class Uploads:
    """Issues upload URLs and upload tokens."""

    def __init__(self, ports: Ports, before_upload: Sequence[BeforeUpload] = ()) -> None:
        self._ports = ports
        self._before_upload = before_upload

    async def start(self, connection: Connection, actor: Actor, at: Reach, body: StartUpload) -> Upload:
        """A fresh URL, for the recording's one audio, or for a new image or video.

        Raises:

        - NotFound when `at` reaches no recording.
        - InvalidRequest when the content type does not fit the media's type, or the size is above the limit.
        - Conflict when the audio is uploaded or was erased, or when there are too many media or valid URLs.
        - UploadVerificationPending while the audio is being verified.
        - StoreUnavailable without credentials to sign with.
        - What a hook of `before_upload` raises.
        """
        declared = self._check(body)
        now = self._ports.clock.now()
        recording = await record_queries.lock(connection, at)
        if recording is None:
            raise unknown()
        await check_upload(
            self._before_upload,
            connection,
            at.world_id,
            recording.end_user_id,
            recording.device_id,
            recording.binding_generation,
            recording.status,
        )
        if body.type == "audio" and recording.audio_erased_at is not None:
            raise Conflict(
                "The audio of this recording was uploaded, and its retention period has ended: it is erased, "
                "and the recording accepts no other audio. Announce a new recording."
            )
        crash_point("upload-url:begin")
        media_id: str | None = None
        if body.type == "audio":
            audio = await media_queries.find_audio(connection, at)
            if audio is not None:
                media_id = audio.id
                _check_open(audio.status)
        if media_id is not None:
            await _renew(connection, at, media_id, declared, body.captured_at, now)
        else:
            if await media_queries.count_media(connection, at) >= MAX_MEDIA:
                raise Conflict(f"A recording has {MAX_MEDIA} media at most.")
            media_id = self._ports.ids.new("med")
            new = media_states.NewMedia(
                id=media_id,
                type=body.type,
                content_type=declared.content_type,
                captured_at=body.captured_at,
                created_at=now,
                url_expires_at=now + timedelta(seconds=URL_SECONDS),
            )
            await media_states.create(connection, at, new)
        crash_point("upload-url:media-written")
        about = recording.end_user_id
        await audit.note(
            connection, self._ports.ids, now, actor, "recording.upload_started", at.recording_id, about
        )
        return await self._issue(connection, actor, at, media_id, declared, now)

    async def replay(self, actor: Actor, at: Reach, stored: Upload) -> Upload:
        """Repeat `start` for the same Idempotency-Key: the same media, a fresh URL and a fresh token.

        Raises what `start` raises, and Conflict when the media or the first attempt is gone.
        """
        now = self._ports.clock.now()
        async with self._ports.database.transaction() as connection:
            recording = await record_queries.lock(connection, at)
            if recording is None:
                raise unknown()
            await check_upload(
                self._before_upload,
                connection,
                at.world_id,
                recording.end_user_id,
                recording.device_id,
                recording.binding_generation,
                recording.status,
            )
            media = await media_queries.find_media(connection, at, stored.media_id)
            attempt = await media_queries.read_attempt(
                connection, at.world_id, stored.media_id, _attempt_id(stored.upload_url)
            )
            if media is None or attempt is None:
                raise Conflict("The upload that this Idempotency-Key began is finished. Use a new one.")
            _check_open(media.status)
            declared = _Declared(attempt.content_type, attempt.file_size_bytes, attempt.sha256)
            await _renew(connection, at, stored.media_id, declared, None, now)
            return await self._issue(connection, actor, at, stored.media_id, declared, now)

    def _check(self, body: StartUpload) -> _Declared:
        content_type = content_type_for(body.type, body.content_type)
        limit = largest(self._ports.settings, body.type)
        if body.file_size_bytes is not None and body.file_size_bytes < 1:
            said = f"is {body.file_size_bytes}, but an empty file is not stored. Send a file with content"
            raise InvalidRequest(f"`file_size_bytes` {said}.", param="file_size_bytes", reason=said)
        if body.file_size_bytes is not None and body.file_size_bytes > limit:
            said = f"may be at most {format_limit(limit)} for `{body.type}`"
            raise InvalidRequest(f"`file_size_bytes` {said}.", param="file_size_bytes", reason=said)
        return _Declared(content_type, body.file_size_bytes, body.sha256)

    async def _issue(
        self,
        connection: Connection,
        actor: Actor,
        at: Reach,
        media_id: str,
        declared: _Declared,
        now: datetime,
    ) -> Upload:
        attempt_id = self._ports.ids.new("att")
        staging_key = object_names.AttemptName(
            actor.project_id, at.recording_id, media_id, attempt_id
        ).staging_key()
        link = self._ports.links.put(
            staging_key,
            now=now,
            expires_in=URL_SECONDS,
            content_type=declared.content_type,
            content_length=declared.size,
            sha256=declared.sha256,
        )
        attempt = media_states.NewAttempt(
            media_id=media_id,
            id=attempt_id,
            staging_key=staging_key,
            content_type=declared.content_type,
            size=declared.size,
            sha256=declared.sha256,
            created_at=now,
            url_expires_at=now + timedelta(seconds=URL_SECONDS),
        )
        await media_states.issue(connection, at.world_id, attempt)
        crash_point("upload-url:attempt-written")
        token = new_token(token_lookup_queries.PREFIX)
        await media_queries.keep_upload_access(
            connection,
            self._ports.hasher.hash(token),
            at,
            expires_at=now + TOKEN_LIFE if actor.expires_at is None else actor.expires_at,
            issued_by=actor.id if actor.kind == "key" else actor.issued_by,
        )
        crash_point("upload-url:before-commit")
        return Upload(
            media_id=media_id,
            upload_url=link.url,
            headers=link.headers,
            content_type=declared.content_type,
            expires_at=timestamp(link.expires_at),
            expires_in=link.expires_in,
            upload_token=token,
            complete_url=f"{self._ports.settings.base_url}/v1/recordings/{at.recording_id}/upload-complete",
        )


async def check_upload(
    hooks: Sequence[BeforeUpload],
    connection: Connection,
    world_id: int,
    end_user_id: str,
    device_id: str | None,
    binding_generation: int | None,
    status: RecordingStatus,
) -> None:
    """Call the hooks before an upload, unless the recording is uploaded. Raises what a hook raises."""
    if status != "uploaded":
        for check in hooks:
            await check(connection, world_id, end_user_id, device_id, binding_generation)


async def _renew(
    connection: Connection,
    at: Reach,
    media_id: str,
    declared: _Declared,
    captured_at: datetime | None,
    now: datetime,
) -> None:
    """Prepare a media of a locked recording for one more URL. Raises Conflict for too many valid URLs."""
    urls = await media_queries.count_attempts(connection, at.world_id, media_id, now)
    if urls.valid >= MAX_ATTEMPTS:
        raise Conflict(
            f"This media has {MAX_ATTEMPTS} upload URLs that can still be used. Use one of them, or ask "
            "again when the oldest has expired."
        )
    if urls.kept >= MAX_ATTEMPTS:
        await media_queries.forget_attempts(
            connection, at.world_id, media_id, now - _FORGET_AFTER, MAX_ATTEMPTS
        )
    ends = now + timedelta(seconds=URL_SECONDS)
    await media_states.renew(connection, at, media_id, declared.content_type, captured_at, ends)


def _check_open(status: MediaStatus) -> None:
    """Raises UploadVerificationPending or Conflict when the media accepts no uploads."""
    if status == "verifying":
        raise UploadVerificationPending("This upload is being verified. Ask again after the verification.")
    if status == "uploaded":
        raise Conflict("This media is uploaded and cannot change. Make a new recording for other bytes.")


def _attempt_id(upload_url: str) -> str:
    """The id of the attempt: the last segment of the URL's path, which ends with the staging key."""
    return upload_url.partition("?")[0].rpartition("/")[2]
