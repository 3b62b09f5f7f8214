"""Chunks and vectors appear and go with their transcripts, also when workers are killed or races happen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lapel.cli.doctor.embedding_checks import vectors
from lapel.foundation.core.actors import Actor
from lapel.foundation.ports import Ports
from lapel.slices.embeddings.service import DIMENSIONS, EmbeddingsAway
from lapel.slices.erasure.service import RETENTION
from lapel.slices.recordings.service import Reach, Recordings
from lapel.slices.recordings.wire import UpdateRecording
from lapel.slices.search.indexing.catching_up import CatchingUp
from lapel.slices.search.indexing.vector_work import VectorWork
from lapel.slices.search.payloads import EmbedTranscript
from tests.search.support import Library, by_words, search, segments_of
from tests.support.tenants import Tenant, bearer

LONG = [f"Sentence number {number} speaks of the harbour and its many cranes." for number in range(400)]
ONE = ["The harbour has cranes."]


@pytest.fixture
def library(ports: Ports, tenant: Tenant) -> Library:
    return Library(ports, tenant)


class Embedder:
    """A model that gives the same vector to every text; `before` is awaited first."""

    def __init__(self, model: str = "one@1") -> None:
        self.model = model
        self.texts: list[str] = []
        self.fails = 0
        self.before: Awaitable[None] | None = None

    async def passages(self, texts: list[str]) -> list[bytes]:
        """The vectors, after as many failures as told."""
        if self.fails:
            self.fails -= 1
            raise EmbeddingsAway("away")
        if self.before is not None:
            before, self.before = self.before, None
            await before
        self.texts += texts
        return [b"\0\0\x80\x3f" + bytes(4 * (DIMENSIONS - 1)) for _ in texts]


def work_of(library: Library, embedder: Embedder) -> VectorWork:
    """A worker with this model."""
    return VectorWork(library.ports, embedder)  # type: ignore[arg-type]


async def due_only(library: Library) -> None:
    """Leave no work of other tests, which would come first."""
    await library.execute(
        "UPDATE search_transcripts SET embed_at = NULL WHERE world_id <> $1", library.world_id
    )


async def test_a_newer_transcription_replaces_the_chunks(library: Library) -> None:
    end_user = await library.end_user()
    recording = await library.said(end_user, segments_of(LONG))
    assert await library.count("search_chunks", recording) >= 50
    await due_only(library)
    await work_of(library, Embedder()).work(EmbedTranscript(0, ""))
    assert await library.count("search_vectors", recording) == await library.count("search_chunks", recording)
    newer = await library.transcribed(recording, segments_of(ONE))
    assert await library.count("search_chunks", recording) == 1
    assert await library.count("search_vectors", recording) == 0
    await library.transcribed(recording, segments_of(LONG), is_current=False)  # an older one that took longer
    assert await library.count("search_chunks", recording) == 1
    async with library.ports.database.acquire() as connection:
        shown = "SELECT transcription_id FROM search_chunks WHERE world_id = $1 AND recording_id = $2"
        assert await connection.fetchval(shown, library.world_id, recording) == newer


async def test_a_transcript_without_a_word_is_indexed_and_has_no_chunk(library: Library) -> None:
    recording = await library.said(await library.end_user(), [])
    assert await library.count("search_transcripts", recording) == 1
    assert await library.count("search_chunks", recording) == 0


async def test_all_goes_with_the_recording(library: Library, client: httpx.AsyncClient) -> None:
    end_user = await library.end_user()
    recording, kept = [await library.said(end_user, segments_of(ONE)) for _ in range(2)]
    await due_only(library)
    await work_of(library, Embedder()).work(EmbedTranscript(0, ""))
    key = library.tenant.test_key
    answer = await client.delete(f"/v1/recordings/{recording}", headers=bearer(key))
    assert answer.status_code == 204
    found = await search(client, key, "harbour", end_user_id=end_user)
    assert {each["recording_id"] for each in found} == {kept}
    for table in ("search_transcripts", "search_chunks", "search_vectors"):
        assert await library.count(table, recording) == 0
        assert await library.count(table, kept) == 1


async def test_a_held_recording_is_not_found_once_it_is_deleted(
    library: Library, client: httpx.AsyncClient
) -> None:
    end_user = await library.end_user()
    recording = await library.said(end_user, segments_of(ONE))
    key = library.tenant.test_key
    held = await client.post(f"/v1/recordings/{recording}/hold", json={"reason": "x"}, headers=bearer(key))
    assert held.status_code == 201, held.text
    assert (await client.delete(f"/v1/recordings/{recording}", headers=bearer(key))).status_code == 204
    assert await search(client, key, "harbour", end_user_id=end_user) == []
    assert await library.count("search_chunks", recording) == 0
    async with library.ports.database.transaction() as connection:
        made = "SELECT id FROM transcriptions WHERE world_id = $1 AND recording_id = $2"
        transcription = await connection.fetchval(made, library.world_id, recording)
        assert not await library.index.add(connection, library.world_id, transcription)


async def test_a_deleted_end_user_is_not_found_at_once(library: Library, client: httpx.AsyncClient) -> None:
    end_user = await library.end_user()
    await library.said(end_user, segments_of(ONE))
    key = library.tenant.test_key
    assert (await client.delete(f"/v1/end-users/{end_user}", headers=bearer(key))).status_code == 204
    await search(client, key, "harbour", 404, end_user_id=end_user)


async def test_a_deletion_waits_for_the_index_and_then_finds_the_chunks(library: Library) -> None:
    recording = await library.said(await library.end_user(), segments_of(ONE), is_indexed=False)
    deletion = library.services[Recordings].deletion
    async with library.ports.database.transaction() as connection:
        made = "SELECT id FROM transcriptions WHERE world_id = $1 AND recording_id = $2"
        transcription = await connection.fetchval(made, library.world_id, recording)
        assert await library.index.add(connection, library.world_id, transcription)
        deleting = asyncio.create_task(deletion.delete(Reach(library.world_id, recording), RETENTION))
        done, _ = await asyncio.wait({deleting}, timeout=0.2)
        assert not done
    await deleting
    for table in ("search_transcripts", "search_chunks"):
        assert await library.count(table, recording) == 0


async def test_a_transcript_from_before_the_index_is_found_by_the_walk(library: Library) -> None:
    end_user = await library.end_user()
    old = [await library.said(end_user, segments_of(ONE), is_indexed=False) for _ in range(3)]
    walk = CatchingUp(library.ports, library.index)
    await walk.run()
    for recording in old:
        assert await library.count("search_chunks", recording) == 1
    await walk.run()  # rests
    async with library.ports.database.transaction() as connection:
        made = "SELECT id FROM transcriptions WHERE world_id = $1 AND recording_id = $2"
        transcription = await connection.fetchval(made, library.world_id, old[0])
        assert not await library.index.add(connection, library.world_id, transcription)


async def test_words_of_an_earlier_version_are_written_anew_and_vectors_stay(library: Library) -> None:
    """As migration 0066 finds them: the first version had neither joined words nor beginnings."""
    end_user = await library.end_user()
    old = await library.said(end_user, segments_of(["Wysłał e-mail z umową."]), language="pl")
    await work_of(library, Embedder()).work(EmbedTranscript(0, ""))
    count = await library.count("search_vectors", old)
    kept = "UPDATE search_chunks SET words = ts_filter(setweight(words, 'A'), '{b}') WHERE recording_id = $1"
    await library.execute(kept, old)
    await library.execute("UPDATE search_transcripts SET words_version = 1 WHERE recording_id = $1", old)
    await CatchingUp(library.ports, library.index).run()
    for query in ("umowa", "email", "wysłał"):
        assert [each[0] for each in await by_words(library, end_user, query)] == [old]
    assert await library.count("search_vectors", old) == count
    done = "SELECT words_version FROM search_transcripts WHERE recording_id = $1"
    async with library.ports.database.acquire() as connection:
        assert await connection.fetchval(done, old) == 2


async def test_worlds_take_turns_and_a_killed_batch_is_done_again(library: Library, stranger: Tenant) -> None:
    other = Library(library.ports, stranger)
    long = await library.said(await library.end_user(), segments_of(LONG))
    short = await other.said(await other.end_user(), segments_of(["Only one sentence of the other."]))
    async with library.ports.database.acquire() as connection:
        await connection.execute(
            "UPDATE search_transcripts SET embed_at = NULL WHERE world_id <> ALL($1::bigint[])",
            [library.world_id, other.world_id],
        )
    embedder = Embedder()
    embedder.fails = 1
    work = work_of(library, embedder)
    await work.work(EmbedTranscript(0, ""))  # fails, and is put back
    await library.execute("UPDATE search_transcripts SET embed_at = now() WHERE embed_at > now()")
    await work.work(EmbedTranscript(0, ""))
    assert await other.count("search_vectors", short) == 1
    chunks = await library.count("search_chunks", long)
    assert await library.count("search_vectors", long) == chunks == len(embedder.texts) - 1
    assert embedder.texts.index("Only one sentence of the other.") <= 32
    done = "SELECT model, embed_at, lease FROM search_transcripts WHERE world_id = $1 AND recording_id = $2"
    async with library.ports.database.acquire() as connection:
        assert tuple(await connection.fetchrow(done, library.world_id, long) or ()) == ("one@1", None, None)


async def test_a_batch_of_a_replaced_transcript_is_not_written(library: Library) -> None:
    recording = await library.said(await library.end_user(), segments_of(ONE))
    await due_only(library)

    class Replaced(Embedder):
        async def passages(self, texts: list[str]) -> list[bytes]:
            """A newer transcription completes meanwhile."""
            if not self.texts:
                await library.transcribed(recording, segments_of(["Other words."]))
            return await super().passages(texts)

    embedder = Replaced()
    await work_of(library, embedder).work(EmbedTranscript(0, ""))
    assert embedder.texts == ["The harbour has cranes.", "Other words."]
    assert await library.count("search_vectors", recording) == 1


async def test_another_model_embeds_again_and_the_old_vectors_stay_until_all_is_done(
    library: Library,
) -> None:
    recording = await library.said(await library.end_user(), segments_of(ONE))
    await due_only(library)
    await work_of(library, Embedder()).work(EmbedTranscript(0, ""))
    newer = work_of(library, Embedder("two@2"))
    await newer.sweep()
    assert await library.count("search_vectors", recording) == 1
    await newer.work(EmbedTranscript(0, ""))
    assert await library.count("search_vectors", recording) == 2
    await newer.sweep()
    assert await library.count("search_vectors", recording) == 1
    async with library.ports.database.acquire() as connection:
        model = "SELECT model FROM search_vectors WHERE world_id = $1 AND recording_id = $2"
        assert await connection.fetchval(model, library.world_id, recording) == "two@2"


async def test_the_name_of_the_recording_is_embedded_with_its_passages(library: Library) -> None:
    recording = await library.said(await library.end_user(), segments_of(ONE))
    await library.execute(
        "UPDATE recordings SET name = $3 WHERE world_id = $1 AND id = $2", library.world_id, recording, "Port"
    )
    await due_only(library)
    embedder = Embedder()
    await work_of(library, embedder).work(EmbedTranscript(0, ""))
    assert embedder.texts == ["Port. The harbour has cranes."]


async def test_a_changed_name_is_embedded_again_without_a_gap(library: Library) -> None:
    project_id = library.tenant.project_id
    actor = Actor(kind="key", id="key_x", world_id=library.world_id, project_id=project_id, mode="test")
    recording, unwanted = [await library.said(await library.end_user(), segments_of(LONG)) for _ in range(2)]
    never = "UPDATE search_transcripts SET embed_at = NULL WHERE world_id = $1 AND recording_id = $2"
    await library.execute(never, library.world_id, unwanted)
    await due_only(library)
    chunks, embedder = await library.count("search_chunks", recording), Embedder()
    assert chunks > 40, "more than one batch"

    async def rename(recording_id: str, name: str | None) -> None:
        records = library.services[Recordings].records
        await records.update(actor, Reach(library.world_id, recording_id), UpdateRecording(name=name))

    await work_of(library, embedder).work(EmbedTranscript(0, ""))
    for name, then in (("Port", "Quay"), ("Pier", None)):
        embedder.texts.clear()
        await rename(unwanted, name)
        await rename(recording, name)
        work = work_of(library, embedder)
        assert await work._batch(embedder.model)
        assert await library.count("search_vectors", recording) == chunks, (
            "the former ones are found until then"
        )
        embedder.before = rename(recording, then)  # while the worker computes the next batch
        assert await work._batch(embedder.model)
        embedder.texts.clear()
        await work.work(EmbedTranscript(0, ""))
        begin = f"{then}. Sentence" if then else "Sentence"
        assert len(embedder.texts) == chunks
        assert all(each.startswith(begin) for each in embedder.texts)
        assert await library.count("search_vectors", recording) == chunks
    embedder.texts.clear()
    await rename(recording, None)  # nothing changes
    await work_of(library, embedder).work(EmbedTranscript(0, ""))
    assert embedder.texts == []
    assert await library.count("search_vectors", unwanted) == 0


async def test_what_always_fails_is_left_without_vectors(library: Library) -> None:
    recording = await library.said(await library.end_user(), segments_of(ONE))
    await due_only(library)
    await library.execute("UPDATE search_transcripts SET tries = 12 WHERE world_id = $1", library.world_id)
    await work_of(library, Embedder()).work(EmbedTranscript(0, ""))
    assert await library.count("search_vectors", recording) == 0
    async with library.ports.database.acquire() as connection:
        due = "SELECT embed_at FROM search_transcripts WHERE world_id = $1"
        assert await connection.fetchval(due, library.world_id) is None


async def test_metrics_and_doctor_tell_of_transcripts_that_wait_for_vectors(
    library: Library, client: httpx.AsyncClient
) -> None:
    await due_only(library)
    assert await waiting(library, client) == ("ok", 0, 0)
    for _ in range(2):
        await library.said(await library.end_user(), segments_of(ONE))
    state, count, seconds = await waiting(library, client)
    assert (state, count) == ("ok", 2)
    assert 0 <= seconds < 300
    await library.execute(
        "UPDATE search_transcripts SET embed_at = embed_at - interval '6 minutes' WHERE world_id = $1",
        library.world_id,
    )
    state, count, seconds = await waiting(library, client)
    assert (state, count) == ("warning", 2)
    assert seconds > 300
    # Vectors of another model are there meanwhile.
    await library.execute("UPDATE search_transcripts SET model = 'x' WHERE world_id = $1", library.world_id)
    assert await waiting(library, client) == ("ok", 2, 0)
    await work_of(library, Embedder()).work(EmbedTranscript(0, ""))
    assert await waiting(library, client) == ("ok", 0, 0)


async def waiting(library: Library, client: httpx.AsyncClient) -> tuple[str, float, float]:
    """What doctor says, and the metrics: how many transcripts wait, and for how many seconds."""
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    values = {each.name: each.samples[0].value for each in families if each.name.startswith("lapel_search")}
    async with library.ports.database.acquire() as connection:
        state = (await vectors(connection, library.ports.settings)).state
    return state, values["lapel_search_transcripts_waiting"], values["lapel_search_waiting_seconds"]


async def test_the_configuration_says_whether_there_are_vectors(
    library: Library, client: httpx.AsyncClient
) -> None:
    end_user = await library.end_user()
    answer = await client.patch(
        f"/v1/end-users/{end_user}/config/processing",
        json={"auto_embedding": {"enabled": False}},
        headers=bearer(library.tenant.test_key),
    )
    assert answer.status_code == 200, answer.text
    recording = await library.said(end_user, segments_of(ONE))
    await due_only(library)
    await work_of(library, Embedder()).work(EmbedTranscript(0, ""))
    assert await library.count("search_vectors", recording) == 0
    assert await search(client, library.tenant.test_key, "harbour", end_user_id=end_user)
