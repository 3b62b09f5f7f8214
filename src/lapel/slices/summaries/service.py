"""Summaries: create and read them. Also the automatic summaries of new transcripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import InvalidRequest, NotFound
from lapel.foundation.database import audit, outbox
from lapel.foundation.http.input.pagination import page, window
from lapel.foundation.http.input.text_lengths import utf16_units
from lapel.slices.recordings.service import lock_recording
from lapel.slices.summaries import queries
from lapel.slices.summaries.templates.builtin import template_id_of
from lapel.slices.summaries.templates.service import current_version, unknown_template
from lapel.slices.summaries.views import summary_of
from lapel.slices.summaries.wire import LEAST_PROMPT, SummaryPage
from lapel.slices.summaries.work import summary_lifecycle, summary_work_queries
from lapel.slices.transcription.errors import TranscriptNotReady
from lapel.slices.transcription.service import state_of_transcription

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.configuration.service import Configuration, Document
    from lapel.slices.recordings.service import KnownRecording
    from lapel.slices.summaries.wire import CreateSummary, Slot, Summary, SummaryQuery

_DEFAULT_SLOT: Slot = "gemini"
_IDS_AT_ONCE = 500


class Summaries:
    """The operations on summaries. Methods without a `connection` parameter raise Unavailable when the
    database is away."""

    def __init__(self, ports: Ports, configuration: Configuration) -> None:
        self._ports = ports
        self._configuration = configuration

    async def create(self, connection: Connection, actor: Actor, body: CreateSummary) -> Summary:
        """Create a summary, which a worker then makes.

        Raises InvalidRequest unless the body has exactly one of template and prompt, and for an unknown
        template. Raises NotFound when the caller sees no such transcription, and TranscriptNotReady when it
        is not completed.
        """
        word = _template_word(body)
        world_id = actor.world_id
        state = await state_of_transcription(connection, world_id, body.transcription_id, actor.end_user_id)
        recording = None if state is None else await lock_recording(connection, world_id, state.recording_id)
        if state is None or recording is None:
            raise NotFound("There is no transcription with this id.", param="transcription_id")
        if state.status != "completed":
            raise TranscriptNotReady(f"There is no transcript: this transcription is {state.status}.")
        template = None if word is None else await current_version(connection, world_id, word)
        if word is not None and template is None:
            raise unknown_template()
        created = await summary_lifecycle.begin(
            connection,
            self._ports,
            world_id,
            (state.recording_id, body.transcription_id),
            origin="request",
            template=template,
            prompt=body.prompt,
            provider=body.provider or await self._slot(connection, world_id, recording),
        )
        if created is None:
            raise AssertionError("only automatic summaries are made once")
        now, about = self._ports.clock.now(), recording.end_user_id
        await audit.note(connection, self._ports.ids, now, actor, "summary.created", created, about)
        return await self._read_in(connection, actor, created)

    async def replayed(self, actor: Actor, stored: Summary) -> Summary:
        """The answer to a repeated request: the summary of the first request, in its current state. Raises
        NotFound when that summary is gone."""
        return await self.read(actor, stored.id)

    async def read(self, actor: Actor, summary_id: str) -> Summary:
        """One summary. Raises NotFound when the caller sees no such summary."""
        async with self._ports.database.acquire() as connection:
            return await self._read_in(connection, actor, summary_id)

    async def size(self, actor: Actor, summary_id: str) -> int:
        """Approximate size of the summary's JSON, in bytes. Raises NotFound when there is no such summary."""
        async with self._ports.database.acquire() as connection:
            size = await queries.size(connection, actor.world_id, summary_id)
        if size is None:
            raise _unknown()
        return size

    async def size_of_list(self, actor: Actor, query: SummaryQuery) -> int:
        """Approximate size of the page's JSON, in bytes. Raises InvalidRequest for a bad cursor."""
        asked = window(query, "summaries")
        async with self._ports.database.acquire() as connection:
            return await queries.list_size(connection, actor.world_id, actor.end_user_id, asked, query)

    async def list(self, actor: Actor, query: SummaryQuery) -> SummaryPage:
        """A page, newest first. Raises InvalidRequest for a bad cursor."""
        asked = window(query, "summaries")
        async with self._ports.database.acquire() as connection:
            rows = await queries.list_page(connection, actor.world_id, actor.end_user_id, asked, query)
        cut = bool(rows) and rows[-1].followed
        data, has_more, next_cursor = page(rows, asked, summary_of, cut=cut)
        return SummaryPage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def ids_of(self, actor: Actor, recording_id: str) -> AsyncGenerator[str]:
        """The ids of all summaries of a recording, also of those that no list shows any more."""
        ids = [""]
        while ids:
            async with self._ports.database.acquire() as connection:
                ids = await queries.list_ids(
                    connection, actor.world_id, recording_id, actor.end_user_id, ids[-1], _IDS_AT_ONCE
                )
            for each in ids:
                yield each

    # ---- hooks

    async def summarize_completed(
        self, connection: Connection, world_id: int, recording_id: str, transcription_id: str
    ) -> None:
        """Create the automatic summary of a transcription, in the transaction that completes it, if the
        configuration says so. The caller has locked the recording."""
        recording = await lock_recording(connection, world_id, recording_id)
        if recording is None:
            return
        wanted = (await self._processing(connection, world_id, recording))["auto_summary"]
        if not wanted["enabled"]:
            return
        word = str(wanted["template"])
        # An unknown template is no reason to lose the transcription: the summary fails, and says why.
        template = await current_version(connection, world_id, word) or (template_id_of(word), None)
        await summary_lifecycle.begin(
            connection,
            self._ports,
            world_id,
            (recording_id, transcription_id),
            origin="auto",
            template=template,
            prompt=None,
            provider=wanted["provider"] or _DEFAULT_SLOT,
        )

    async def erase_of_recordings(
        self, connection: Connection, world_id: int, recording_ids: list[str]
    ) -> None:
        """Erase the outbox events of the summaries of deleted recordings.

        The rows of the summaries are deleted together with the recordings. The caller has locked the
        recordings, so that no work on them begins meanwhile.
        """
        await summary_work_queries.lock_of_recordings(connection, world_id, recording_ids)
        found = await queries.lock_of_recordings(connection, world_id, recording_ids)
        if found:
            await outbox.erase(connection, world_id, found)

    async def _processing(self, connection: Connection, world_id: int, recording: KnownRecording) -> Document:
        return await self._configuration.processing(
            connection, world_id, recording.end_user_id, recording.device_id
        )

    async def _slot(self, connection: Connection, world_id: int, recording: KnownRecording) -> Slot:
        wanted = (await self._processing(connection, world_id, recording))["auto_summary"]
        return wanted["provider"] or _DEFAULT_SLOT

    async def _read_in(self, connection: Connection, actor: Actor, summary_id: str) -> Summary:
        row = await queries.read(connection, actor.world_id, summary_id, actor.end_user_id)
        if row is None:
            raise _unknown()
        return summary_of(row)


def _template_word(body: CreateSummary) -> str | None:
    """The template that the body names; None for a prompt. Raises InvalidRequest unless it is one of them,
    and for a prompt that is too short."""
    if body.prompt is not None and utf16_units(body.prompt) < LEAST_PROMPT:
        reason = f"must have at least {LEAST_PROMPT} characters"
        raise InvalidRequest(f"`prompt` {reason}.", param="prompt", reason=reason)
    words = [word for word in (body.template_id, body.template) if word is not None]
    if not words and body.prompt is None:
        raise InvalidRequest("Give `template_id` or `prompt`.", param="template_id")
    if words and body.prompt is not None:
        raise InvalidRequest("Give `template_id` or `prompt`, not both.", param="prompt")
    if len({template_id_of(word) for word in words}) > 1:
        raise InvalidRequest("`template_id` and `template` name two templates.", param="template")
    return words[0] if words else None


def _unknown() -> NotFound:
    return NotFound("There is no summary with this id.")
