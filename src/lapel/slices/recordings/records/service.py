"""Create, read, list and change recordings. uploads/ handles their bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from lapel.foundation.core.errors import Conflict, InvalidRequest, NotFound
from lapel.foundation.database import audit
from lapel.foundation.database.together import Together
from lapel.foundation.http.input.fields import given, metadata_text, value_of
from lapel.foundation.http.input.pagination import page, window
from lapel.slices.devices.service import find_device
from lapel.slices.end_users.service import lock_active_end_user
from lapel.slices.recordings import events
from lapel.slices.recordings.access import Reach, reach, unknown
from lapel.slices.recordings.records import list_queries, record_queries
from lapel.slices.recordings.views import announced, recording_of, shown_to
from lapel.slices.recordings.wire import Recording, RecordingPage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.recordings.rows import RecordingRow, RecordingRows
    from lapel.slices.recordings.wire import CreateRecording, RecordingQuery, UpdateRecording

# `create` tries again when the recording that prevents its insert is deleted before it is read.
_TRIES = 3
# Readers who share a statement. Recordings have up to 500 media each: the rows of 128 would take 0.7 seconds.
_READERS = 32


class OnRename(Protocol):
    """A hook of another slice, called in the transaction that changes the name of a recording."""

    async def __call__(self, connection: Connection, world_id: int, recording_id: str, /) -> object:
        """Act on the new name, which is written already."""


class Records:
    """Operations on recordings, except on their bytes.

    Methods that open a connection raise Unavailable when the database fails.
    """

    def __init__(self, ports: Ports, on_rename: Sequence[OnRename] = ()) -> None:
        self._ports = ports
        self._on_rename = on_rename
        self._reads = Together(ports.database, record_queries.read, most=_READERS)

    async def create(
        self, connection: Connection, actor: Actor, body: CreateRecording
    ) -> tuple[Recording, bool]:
        """Create a recording. Returns the recording, and whether it is new.

        A device that repeats `recording_uuid` and generation gets the existing recording. If the existing
        recording belongs to an earlier binding to the same end user, it moves to the present binding.

        Raises:

        - InvalidRequest when fields contradict each other, the end user is missing or `metadata` is too
        large.
        - NotFound when the caller reaches no such end user or device.
        - Conflict when the calling device is not bound, when a repeat differs from the existing recording, or
          when concurrent requests keep changing that recording.
        """
        if actor.kind == "device":  # always `device`, whatever the body says
            body = msgspec.structs.replace(body, source=None)
        _check_times(body.started_at, body.ended_at)
        recording_uuid = _checked_uuid(body)
        metadata = metadata_text(body.metadata)
        end_user_id, device_id, generation = await self._owner(connection, actor, body)
        await lock_active_end_user(connection, actor.world_id, end_user_id)
        new = record_queries.NewRecording(
            end_user_id=end_user_id,
            device_id=device_id,
            binding_generation=generation,
            name=body.name,
            source=body.source or ("api_upload" if device_id is None else "device"),
            upload_method=body.upload_method,
            started_at=body.started_at,
            ended_at=body.ended_at,
            recorded_at=body.recorded_at or body.started_at,
            metadata=metadata,
            consent_obtained=body.consent_obtained or False,
            recording_uuid=recording_uuid,
            recording_generation=body.recording_generation,
            encryption_version=body.encryption_version,
        )
        for _ in range(_TRIES):
            recording_id = self._ports.ids.new("rec")
            now = self._ports.clock.now()
            if await record_queries.insert(connection, actor.world_id, recording_id, new, now):
                recording = await read_in(connection, Reach(actor.world_id, recording_id), actor.project_id)
                await events.publish(connection, self._ports.ids, now, actor.world_id, "created", recording)
                await audit.note(
                    connection, self._ports.ids, now, actor, "recording.created", recording_id, end_user_id
                )
                return _shown(actor, recording, body), True
            if device_id is None or recording_uuid is None:
                continue
            found = await record_queries.find_by_uuid(
                connection, actor.world_id, device_id, recording_uuid, body.recording_generation
            )
            if found is not None:
                _check_agreement(found.rows[0], end_user_id, body)
                if generation is not None:
                    await record_queries.adopt(connection, actor.world_id, found.id, generation)
                return _shown(actor, recording_of(found, actor.project_id), body), False
        raise Conflict("This recording is being changed by another request. Repeat the request.")

    async def replayed(self, actor: Actor, body: CreateRecording, stored: Recording) -> Recording:
        """The stored answer, for a repeat of `create`, perhaps with another key of the project.

        Raises NotFound when the recording is deleted.
        """
        await self.read(actor, reach(actor, stored.id))
        return _shown(actor, stored, body)

    async def read(self, actor: Actor, at: Reach) -> Recording:
        """One recording with its media. Raises NotFound when `at` reaches no recording."""
        return _found(await self._reads.ask(at), actor.project_id)

    async def list(self, actor: Actor, query: RecordingQuery) -> RecordingPage:
        """One page with all media, newest first. Raises InvalidRequest for a bad cursor."""
        asked = window(query, "recordings")
        own = actor.end_user_id if actor.kind in ("key", "end_user") else None
        if own is not None and query.end_user_id not in (None, own):
            return RecordingPage(data=[], has_more=False, next_cursor=None)
        filters = {
            "end_user_id": own or query.end_user_id,
            "device_id": query.device_id,
            "status": query.status,
            "recorded_after": query.recorded_after,
            "recorded_before": query.recorded_before,
        }
        async with self._ports.database.acquire() as connection:
            found = await list_queries.list_page(connection, actor.world_id, asked, filters)
        data, has_more, next_cursor = page(found, asked, lambda each: recording_of(each, actor.project_id))
        return RecordingPage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def update(self, actor: Actor, at: Reach, body: UpdateRecording) -> Recording:
        """Change the given fields.

        Raises NotFound when `at` reaches no recording, and InvalidRequest when `ended_at` would be before
        `started_at` or `metadata` is too large.
        """
        metadata = (body.metadata is not msgspec.UNSET, metadata_text(value_of(body.metadata)))
        async with self._ports.database.transaction() as connection:
            row = await record_queries.lock(connection, at)
            if row is None:
                raise unknown()
            started_at, ended_at = given(body.started_at), given(body.ended_at)
            _check_times(
                started_at[1] if started_at[0] else row.started_at,
                ended_at[1] if ended_at[0] else row.ended_at,
            )
            written = [name for name in body.__struct_fields__ if getattr(body, name) is not msgspec.UNSET]
            if written:
                await record_queries.update(
                    connection,
                    at,
                    self._ports.clock.now(),
                    name=given(body.name),
                    metadata=metadata,
                    started_at=started_at,
                    ended_at=ended_at,
                )
                if body.name is not msgspec.UNSET and body.name != row.name:
                    for tell in self._on_rename:
                        await tell(connection, at.world_id, at.recording_id)
                now = self._ports.clock.now()
                about, changed = row.end_user_id, at.recording_id
                await audit.note(connection, self._ports.ids, now, actor, "recording.updated", changed, about)
            return shown_to(actor, await read_in(connection, at, actor.project_id), written)

    async def _owner(
        self, connection: Connection, actor: Actor, body: CreateRecording
    ) -> tuple[str, str | None, int | None]:
        """End user, device and binding generation of a new recording.

        The generation is None if the device is not bound to that end user. Raises InvalidRequest when no end
        user is given or implied, NotFound when the caller reaches no such end user or device, and Conflict
        when the calling device is not bound.
        """
        if actor.kind == "device":
            if actor.end_user_id is None:
                raise Conflict("This device is not bound to an end user.")
            return actor.end_user_id, actor.id, actor.binding_generation
        own = actor.end_user_id
        asked = body.end_user_id or own
        if own is not None and asked != own:
            raise NotFound("There is no end user with this `end_user_id`.", param="end_user_id")
        if body.device_id is None:
            if asked is None:
                raise InvalidRequest(
                    "`end_user_id` is required, unless `device_id` names a bound device.",
                    param="end_user_id",
                    reason="required",
                )
            return asked, None, None
        try:
            device = await find_device(connection, actor.world_id, body.device_id, only=own)
        except NotFound:
            raise NotFound("There is no device with this `device_id`.", param="device_id") from None
        end_user_id = asked or device.end_user_id
        if end_user_id is None:
            raise InvalidRequest(
                "This device is not bound: `end_user_id` is required.",
                param="end_user_id",
                reason="required",
            )
        return (
            end_user_id,
            body.device_id,
            device.binding_generation if end_user_id == device.end_user_id else None,
        )


async def read_in(connection: Connection, at: Reach, project_id: str) -> Recording:
    """The recording as this transaction sees it. Raises NotFound when `at` reaches no recording."""
    return _found(await record_queries.read_one(connection, at), project_id)


def _found(found: RecordingRows | None, project_id: str) -> Recording:
    if found is None:
        raise unknown()
    return recording_of(found, project_id)


def _shown(actor: Actor, recording: Recording, body: CreateRecording) -> Recording:
    """The answer to a caller that announces a recording with this `body`."""
    given = {name for name in body.__struct_fields__ if getattr(body, name) is not None}
    if "started_at" in given and recording.recorded_at == recording.started_at:
        given.add("recorded_at")  # what it is unless the caller sends another
    return announced(shown_to(actor, recording, given))


def _checked_uuid(body: CreateRecording) -> str | None:
    """The `recording_uuid` in lower case. Raises InvalidRequest for a uuid or a generation alone."""
    missing = {
        "recording_uuid": body.recording_uuid is None,
        "recording_generation": body.recording_generation is None,
    }
    if len(set(missing.values())) > 1:
        alone = next(name for name, without in missing.items() if without)
        raise InvalidRequest(
            "`recording_uuid` and `recording_generation` come together, or not at all.",
            param=alone,
            reason="required",
        )
    return None if body.recording_uuid is None else body.recording_uuid.lower()


def _check_times(started_at: datetime | None, ended_at: datetime | None) -> None:
    if started_at is not None and ended_at is not None and ended_at < started_at:
        raise InvalidRequest("`ended_at` is before `started_at`.", param="ended_at")


def _check_agreement(row: RecordingRow, end_user_id: str, body: CreateRecording) -> None:
    """Raises Conflict when a device's repeat differs from the recording that it announced before.

    The message names the differing fields, except when the recording belongs to another end user.
    """
    if row.end_user_id != end_user_id:
        raise Conflict(
            "This `recording_uuid` and generation cannot be used with this device: "
            "give the recording a new UUID."
        )
    facts = {
        "name": (body.name, row.name),
        "source": (body.source, row.source),
        "upload_method": (body.upload_method, row.upload_method),
        "started_at": (body.started_at, row.started_at),
        "ended_at": (body.ended_at, row.ended_at),
        "recorded_at": (body.recorded_at, row.recorded_at),
        "consent_obtained": (body.consent_obtained, row.consent_obtained),
        "encryption_version": (body.encryption_version, row.encryption_version),
    }
    differing = [name for name, (stated, known) in facts.items() if stated is not None and stated != known]
    if body.metadata is not None and msgspec.json.decode(row.metadata) != body.metadata:
        differing.append("metadata")
    if differing:
        raise Conflict(
            "This device announced a recording of this `recording_uuid` and generation before, with "
            f"other facts: {', '.join(differing)}.",
            resource_id=row.id,
        )
