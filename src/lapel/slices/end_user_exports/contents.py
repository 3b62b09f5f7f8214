"""The files of an export: their paths, and where each of them comes from.

Everything is read through the services, as a key that is scoped to the end user would read it, so no file can
hold data of another end user. Lists are read page by page.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

import msgspec

from lapel.foundation.core.errors import NotFound
from lapel.foundation.database import outbox
from lapel.foundation.http.input.fields import raw
from lapel.foundation.http.input.pagination import PageQuery
from lapel.slices.ask.service import AskSessionQuery
from lapel.slices.devices.service import DeviceQuery, client_context
from lapel.slices.end_user_exports.readme import README
from lapel.slices.end_user_exports.wire import DeviceReport
from lapel.slices.end_user_exports.zipped_files import FileToExport
from lapel.slices.recordings.errors import MediaNotUploaded
from lapel.slices.recordings.service import Reach, RecordingQuery
from lapel.slices.transcription.errors import TranscriptNotReady

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.database.outbox import FrozenRow
    from lapel.foundation.database.pool import Database
    from lapel.slices.ask.service import Ask, AskSession
    from lapel.slices.audit.service import AuditEntry, AuditLog
    from lapel.slices.commands.service import Commands
    from lapel.slices.configuration.service import Configuration
    from lapel.slices.devices.service import Device, Devices
    from lapel.slices.end_users.service import EndUsers
    from lapel.slices.heartbeats.service import Heartbeats
    from lapel.slices.projects.service import Keys
    from lapel.slices.recordings.service import Recordings
    from lapel.slices.summaries.service import Summaries
    from lapel.slices.transcription.service import Transcriptions

Item = TypeVar("Item")
Query = TypeVar("Query", bound=PageQuery)
Item_co = TypeVar("Item_co", covariant=True)
_Pages: TypeAlias = AsyncGenerator[Sequence[Item]]
_ReadEvents: TypeAlias = "Callable[[Connection, int, str, str, int], Awaitable[list[FrozenRow]]]"

_PAGE_ROWS = 100
# A body has 1 MiB at most.
_EVENTS_AT_ONCE = 8

_encode = msgspec.json.Encoder().encode


class _ListPage(Protocol[Item_co]):
    """A page of any list of the API."""

    @property
    def data(self) -> Sequence[Item_co]:
        """The rows."""
        ...

    @property
    def next_cursor(self) -> str | None:
        """Where the next page begins; None on the last page."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The services that know something about an end user."""

    database: Database
    end_users: EndUsers
    keys: Keys
    devices: Devices
    commands: Commands
    heartbeats: Heartbeats
    configuration: Configuration
    audit: AuditLog
    recordings: Recordings
    transcriptions: Transcriptions
    summaries: Summaries
    ask: Ask


class Contents:
    """The files about one end user."""

    def __init__(self, sources: Sources, actor: Actor, end_user_id: str, *, with_audit_log: bool) -> None:
        """`actor`: a caller that is scoped to this end user. `with_audit_log`: a key of the end user may not
        read it."""
        self._from = sources
        self._actor = actor
        self._id = end_user_id
        self._with_audit_log = with_audit_log

    async def files(self) -> AsyncGenerator[FileToExport]:
        """All files but the manifest. Raises NotFound when the end user is deleted before the last file, and
        Unavailable while the database is unavailable."""
        yield FileToExport("README.txt", _text(README))
        for file in self._about_the_person():
            yield file
        if self._with_audit_log:
            yield FileToExport("audit_log.json", _array(self._audit_entries()))
        async for session in self._sessions():
            yield FileToExport(f"ask_sessions/{session.id}.json", self._conversation(session))
        async for recording_id in self._recording_ids():
            async with aclosing(self._recording(recording_id)) as files:
                async for file in files:
                    yield file
        await self._from.end_users.read(self._actor, self._id)

    def _about_the_person(self) -> list[FileToExport]:
        get, actor = self._from, self._actor
        return [
            FileToExport("end_user.json", _object(lambda: get.end_users.read(actor, self._id))),
            FileToExport(
                "end_user_token.json", _object(lambda: get.end_users.token_facts(actor.world_id, self._id))
            ),
            FileToExport(
                "api_keys.json",
                _array(_pages(PageQuery(limit=_PAGE_ROWS), lambda query: get.keys.list(actor, query))),
            ),
            FileToExport(
                "configuration.json",
                _object(lambda: get.configuration.read_all(actor, "end_user", self._id)),
            ),
            FileToExport("devices.json", _array(self._devices())),
            FileToExport("device_states.json", _array(self._device_states())),
            FileToExport("commands.json", _array(get.commands.of_end_user(actor, self._id))),
            FileToExport("diagnostics.json", _array(get.heartbeats.diagnostics_of(actor.world_id, self._id))),
            FileToExport("events.json", _array(self._events(outbox.some_of_end_user, self._id))),
        ]

    async def _sessions(self) -> AsyncGenerator[AskSession]:
        query, ask = AskSessionQuery(limit=_PAGE_ROWS), self._from.ask
        async for page in _pages(query, lambda query: ask.list(self._actor, query)):
            for each in page:
                yield each

    async def _conversation(self, session: AskSession) -> AsyncGenerator[bytes]:
        """A session, and its messages. Raises NotFound when the session is deleted meanwhile."""
        yield b'{"session":' + _encode(session) + b',"messages":'
        query, ask = PageQuery(limit=_PAGE_ROWS), self._from.ask
        pages = _pages(query, lambda query: ask.messages(self._actor, session.id, query))
        async with aclosing(_array(pages)) as written:
            async for piece in written:
                yield piece
        yield b"}\n"

    async def _recording_ids(self) -> AsyncGenerator[str]:
        query, records = RecordingQuery(limit=_PAGE_ROWS), self._from.recordings.records
        async for page in _pages(query, lambda query: records.list(self._actor, query)):
            for each in page:
                yield each.id

    async def _recording(self, recording_id: str) -> AsyncGenerator[FileToExport]:
        """The files of one recording. If it is deleted meanwhile, the manifest names those that are left
        out."""
        folder, at = f"recordings/{recording_id}", Reach(self._actor.world_id, recording_id, self._id)
        get, path = self._from, f"{folder}/recording.json"
        try:
            recording = await get.recordings.records.read(self._actor, at)
        except NotFound as error:
            yield FileToExport(path, _failing(error))
            return
        yield FileToExport(path, _text(_pretty(recording)))
        async for file in self._media(at, [each.id for each in recording.media], folder):
            yield file
        resource_ids = [recording_id]
        async for transcription_id in get.transcriptions.ids_of(self._actor, recording_id):
            resource_ids.append(transcription_id)
            path = f"{folder}/transcriptions/{transcription_id}"
            yield FileToExport(f"{path}.json", get.transcriptions.written(self._actor, transcription_id))
            text = await self._transcript(transcription_id)
            if text is not None:
                yield FileToExport(f"{path}.txt", text)
        async for summary_id in get.summaries.ids_of(self._actor, recording_id):
            resource_ids.append(summary_id)
            path = f"{folder}/summaries/{summary_id}.json"
            yield FileToExport(path, _object(partial(get.summaries.read, self._actor, summary_id)))
        yield FileToExport(f"{folder}/events.json", _array(self._events_of(resource_ids)))

    async def _media(self, at: Reach, media_ids: list[str], folder: str) -> AsyncGenerator[FileToExport]:
        taken: set[str] = set()
        for media_id in media_ids:
            try:
                name, content = await self._from.recordings.downloads.contents(at, media_id)
            except MediaNotUploaded:
                continue
            except NotFound as error:
                yield FileToExport(f"{folder}/{media_id}", _failing(error))
                continue
            yield FileToExport(f"{folder}/{_unlike(name, taken)}", content, deflated=False)

    async def _transcript(self, transcription_id: str) -> AsyncGenerator[bytes] | None:
        """The transcript as text; None if there is no transcript."""
        try:
            reply = await self._from.transcriptions.export(self._actor, transcription_id, "txt")
        except TranscriptNotReady:
            return None
        except NotFound as error:
            return _failing(error)
        return _text(reply.body) if isinstance(reply.body, bytes) else reply.body

    async def _device_states(self) -> AsyncGenerator[list[DeviceReport]]:
        get, world_id = self._from, self._actor.world_id
        async for page in self._devices():
            states: list[DeviceReport] = []
            for device in page:
                try:
                    state = await get.devices.state(self._actor, device.id)
                except NotFound:  # unbound or deleted meanwhile
                    continue
                async with get.database.acquire() as connection:
                    context = await client_context(connection, world_id, device.id, self._id)
                states.append(DeviceReport(state=state, client_context=raw(context)))
            yield states

    def _devices(self) -> _Pages[Device]:
        return _pages(
            DeviceQuery(limit=_PAGE_ROWS), lambda query: self._from.devices.list(self._actor, query)
        )

    async def _audit_entries(self) -> _Pages[AuditEntry]:
        """All entries but those of legal holds: telling a person of a hold may be forbidden."""
        async with aclosing(self._from.audit.of_end_user(self._actor, self._id)) as pages:
            async for page in pages:
                yield [each for each in page if not each.action.startswith("hold.")]

    async def _events_of(self, resource_ids: Sequence[str]) -> _Pages[msgspec.Raw]:
        for resource_id in resource_ids:
            async for page in self._events(outbox.some_of_resource, resource_id):
                yield page

    async def _events(self, read: _ReadEvents, of: str) -> _Pages[msgspec.Raw]:
        after = ""
        while True:
            async with self._from.database.acquire() as connection:
                rows = await read(connection, self._actor.world_id, of, after, _EVENTS_AT_ONCE)
            if not rows:
                return
            yield [msgspec.Raw(row.body) for row in rows]
            after = rows[-1].id


async def _pages(query: Query, read: Callable[[Query], Awaitable[_ListPage[Item]]]) -> _Pages[Item]:
    """All pages of a list."""
    while True:
        page = await read(query)
        yield page.data
        if page.next_cursor is None:
            return
        query = msgspec.structs.replace(query, cursor=page.next_cursor)


async def _array(pages: _Pages[Item]) -> AsyncGenerator[bytes]:
    """A JSON array, with a line for each entry."""
    before = b"[\n"
    async with aclosing(pages):
        async for page in pages:
            if page:
                yield before + b",\n".join(_encode(each) for each in page)
                before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


async def _object(read: Callable[[], Awaitable[msgspec.Struct | None]]) -> AsyncGenerator[bytes]:
    yield _pretty(await read())


async def _text(content: str | bytes) -> AsyncGenerator[bytes]:
    yield content.encode() if isinstance(content, str) else content


async def _failing(error: Exception) -> AsyncGenerator[bytes]:
    """A file that is gone already."""
    raise error
    yield b""


def _pretty(item: msgspec.Struct | None) -> bytes:
    return msgspec.json.format(_encode(item), indent=2) + b"\n"


def _unlike(name: str, taken: set[str]) -> str:
    """A name like `name` that no other file of the folder has; some systems ignore case. Adds it to
    `taken`."""
    path, found, number = PurePosixPath(name), name, 1
    while found.casefold() in taken:
        number += 1
        found = f"{path.stem} ({number}){path.suffix}"
    taken.add(found.casefold())
    return found
