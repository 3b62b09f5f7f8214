"""The inventory of personal data in docs/privacy.md: complete, and true of each column."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import httpx
import pytest

from lapel.foundation.core.actors import Actor
from lapel.foundation.database import audit
from lapel.foundation.ports import Ports
from lapel.slices.webhooks.records.erased_events import ErasedEvents
from tests.privacy.columns import PLAIN
from tests.recordings.support import Device
from tests.support.a_life import COLUMNS, Life, finish, lead_a_life
from tests.support.tenants import Tenant

PAGE = Path(__file__).parents[2] / "docs" / "privacy.md"
Column: TypeAlias = tuple[str, str]
AT_ONCE, BY_THE_JOB, KEPT, NOT_ABOUT_IT = "at once", "by the job", "kept", "—"
# Entries of the audit log cannot be changed, not even by a test.
DETAILS = ("audit_details", "details")
# It holds no word. tests/search shows that it goes.
MEANING = ("search_vectors", "meaning")
OF_THE_DEVICE = ("devices", "metadata")
# These begin with the deletion. tests/erasure/test_payloads.py shows the fate of the payloads, with a worker.
OF_A_DELETION = {("erasures", "resource_id"), ("erasures", "end_user_id"), ("pgqueuer", "payload")}
# Columns that have the id of the end user, and nothing else.
IDS = ("id", "end_user_id", "named_for", "subject_id", "principal", "resource_id", "actor_id")
BYTES = (
    "parts",
    "sources",
    "segments",
    "segments_plain",
    "result",
    "peaks",
    "body",
    "answer",
    "sealed_body",
    "output",
    "warnings",
)
# What the test writes where the API takes no free text, or seals it. `$1` is the world, `$2` a text,
# `{person}` the end user. The other rows of the world are about this end user, too.
PLANTED = """
UPDATE commands SET result = jsonb_build_object('m', $2::text), error = jsonb_build_object('m', $2::text),
    idempotency_key = $2 || id WHERE world_id = $1;
UPDATE idempotency_keys SET sealed_body = convert_to($2, 'UTF8') WHERE world_id = $1;
UPDATE recordings SET metadata = jsonb_build_object('m', $2::text) WHERE world_id = $1;
UPDATE devices SET metadata = jsonb_build_object('m', upper($2)) WHERE world_id = $1;
INSERT INTO encrypted_upload_sessions (world_id, id, recording_id, device_id, end_user_id, owner_revision,
        state, channel, policy, policy_revision, binding_generation, recording_uuid, recording_generation,
        capabilities, auth_nonce, ciphertext_length, ciphertext_sha256, staging_key, upload_authorization,
        configuration, recipient_key_id, expires_at, created_at, updated_at)
    SELECT world_id, 'session_' || id, id, 'dev_1', '{person}', 1, 'cancelled', 'ble', 'legacy_allowed', 1, 1,
        'u', 1, decode(repeat('00', 24), 'hex'), decode(repeat('00', 16), 'hex'), 1, '', '',
        decode(repeat('00', 408), 'hex'), '', '', now(), now(), now()
    FROM recordings WHERE world_id = $1 AND end_user_id = '{person}';
UPDATE audio_facts SET peaks = convert_to($2, 'UTF8') WHERE world_id = $1;
INSERT INTO transcription_pieces (world_id, transcription_id, stage, piece, result)
    SELECT world_id, id, 'transcribe', 0, convert_to($2, 'UTF8') FROM transcriptions WHERE world_id = $1;
INSERT INTO summaries (world_id, id, recording_id, transcription_id, origin, status, custom_prompt, provider,
        output, warnings, created_at, updated_at)
    SELECT world_id, replace(id, 'txn', 'sum'), recording_id, id, 'request', 'completed', $2, 'gemini',
        convert_to(jsonb_build_object('content', $2::text)::text, 'UTF8'),
        convert_to(jsonb_build_array(
            jsonb_build_object('code', 'empty_field', 'message', $2::text))::text, 'UTF8'), now(), now()
    FROM transcriptions WHERE world_id = $1;
INSERT INTO summaries (world_id, id, recording_id, transcription_id, origin, status, provider, error_code,
        error_message, created_at, updated_at)
    SELECT world_id, replace(id, 'txn', 'sum') || 'F', recording_id, id, 'request', 'failed', 'gemini',
        'provider_error', $2, now(), now()
    FROM transcriptions WHERE world_id = $1;
INSERT INTO summary_parts (world_id, summary_id, part, result)
    SELECT world_id, id, '0', convert_to($2, 'UTF8') FROM summaries WHERE world_id = $1;
INSERT INTO search_transcripts (world_id, recording_id, transcription_id, end_user_id, configuration, chunks,
        indexed_at)
    SELECT DISTINCT ON (recording_id) world_id, recording_id, id, '{person}', 'simple', 1, now()
    FROM transcriptions WHERE world_id = $1;
INSERT INTO search_chunks (world_id, id, recording_id, transcription_id, end_user_id, place, chunk_text,
        speaker, start_ms, end_ms, words)
    SELECT world_id, 'chk_' || id, recording_id, id, '{person}', 0, $2, $2, 0, 1, array_to_tsvector(ARRAY[$2])
    FROM transcriptions WHERE world_id = $1;
INSERT INTO search_vectors (world_id, chunk_id, model, recording_id, end_user_id, configuration, meaning)
    SELECT world_id, id, 'm', recording_id, end_user_id, 'simple',
        ('[1' || repeat(',0', 383) || ']')::halfvec(384)
    FROM search_chunks WHERE world_id = $1;
UPDATE events SET position = 1 WHERE world_id = $1;
INSERT INTO ask_answers (world_id, id, session_id, end_user_id, state, parts, created_at, seen_at)
    SELECT id, 'msg_1', 'as_1', '{person}', 'running', convert_to($2, 'UTF8'), now(), now()
    FROM worlds WHERE id = $1;
UPDATE ask_messages SET sources = convert_to($2, 'UTF8') WHERE world_id = $1 AND role = 'assistant';
INSERT INTO webhooks (world_id, id, url, events, status, sealed_secret, created_at, updated_at)
    VALUES ($1, 'wh_1', 'https://example.com', '{*}', 'disabled', '', now(), now());
INSERT INTO webhook_deliveries (world_id, id, webhook_id, event_id, resource_id, position, state, created_at)
    SELECT world_id, 'whd_' || id, 'wh_1', id, resource_id, 1, 'succeeded', now()
    FROM events WHERE world_id = $1 AND end_user_id = '{person}';
INSERT INTO webhook_attempts (world_id, delivery_id, number, started_at, latency_ms, status, answer)
    SELECT world_id, id, 1, now(), 1, 200, convert_to($2, 'UTF8') FROM webhook_deliveries WHERE world_id = $1;
"""


@dataclass(frozen=True, slots=True)
class Fate:
    """A row of the page's table: what becomes of a column, and whether the export has it."""

    of_end_user: str
    of_recording: str
    exported: bool


@cache
def inventory() -> dict[Column, Fate]:
    """The table of the page."""
    found: dict[Column, Fate] = {}
    for line in PAGE.read_text().splitlines():
        if not re.match(r"\| `\w+\.\w+`", line):
            continue
        cells = [each.strip() for each in line.strip("|").split("|")]
        names, _, of_end_user, of_recording, exported, kept_for = cells
        assert re.fullmatch(r"at once|by the job|kept: .+", of_end_user), line
        assert re.fullmatch(r"at once|by the job|—|kept: .+", of_recording), line
        assert re.fullmatch(r"yes|no: .+", exported), line
        assert kept_for, line
        for table, column in re.findall(r"`(\w+)\.(\w+)`", names):
            assert (table, column) not in found, f"{table}.{column} is in two rows"
            fate = Fate(of_end_user.partition(":")[0], of_recording.partition(":")[0], exported == "yes")
            found[table, column] = fate
    return found


async def test_every_column_is_in_the_inventory_or_has_a_reason(fresh_database: str) -> None:
    connection = await asyncpg.connect(fresh_database)
    there = {(row["table_name"], row["column_name"]) for row in await connection.fetch(COLUMNS)}
    await connection.close()
    personal, plain = set(inventory()), set(PLAIN)
    assert there - personal - plain == set(), "add these to docs/privacy.md or to tests/privacy/columns.py"
    assert (personal | plain) - there == set(), "there are no such columns"
    assert personal & plain == set()


@pytest.fixture
def operator(client: httpx.AsyncClient, tenant: Tenant) -> Device:
    """The tenant's secret key."""
    return Device(client, tenant, tenant.headers)


async def plant(ports: Ports, life: Life, world: int) -> None:
    """Write the life's word wherever the life itself did not."""
    about_them = Actor(
        kind="end_user", id=life.person, world_id=world, project_id="", mode="test", end_user_id=life.person
    )
    async with ports.database.transaction() as connection:
        change = audit.Change(
            action="end_user.updated",
            resource_type="end_user",
            resource_id=life.person,
            before=marker(life, DETAILS),
        )
        await audit.record(
            connection,
            ports.ids,
            ports.clock.now(),
            worlds=[world],
            actor=about_them,
            change=change,
            about=None,
        )
        for statement in filter(str.strip, PLANTED.replace("{person}", life.person).split(";")):
            arguments = (world, life.word)[: 2 if "$2" in statement else 1]
            await connection.execute(statement, *arguments)


def marker(life: Life, column: Column) -> str:
    """A word that stands in this column alone."""
    return f"{life.word}_{'_'.join(column)}_"


async def mark(ports: Ports, life: Life, world: int) -> set[Column]:
    """Turn the life's word into the marker of its column, wherever it stands. Returns these columns."""
    async with ports.database.acquire() as connection:
        rows = {(row["table_name"], row["column_name"]): row for row in await connection.fetch(COLUMNS)}
        found = await holding(ports, life.word) - {DETAILS}
        for table, column in found:
            kind = rows[table, column]["data_type"]
            text = f"convert_from({column}, 'UTF8')" if kind == "bytea" else f"{column}::text"
            text = f"replace({text}, $2, $3)"
            text = f"convert_to({text}, 'UTF8')" if kind == "bytea" else f"({text})::{kind}"
            await connection.execute(
                f"UPDATE {table} SET {column} = {text} WHERE world_id = $1",
                world,
                life.word,
                marker(life, (table, column)),
            )
    return found | {DETAILS}


async def holding(ports: Ports, *needles: str) -> set[Column]:
    """The columns of the inventory in which one of these stands."""
    found: set[Column] = set()
    async with ports.database.acquire() as connection:
        kinds = {(row["table_name"], row["column_name"]): row for row in await connection.fetch(COLUMNS)}
        for table, column in inventory():
            row = kinds[table, column]
            is_bytes = row["data_type"] == "bytea"
            text = f"encode({column}, 'hex')" if is_bytes else f"{column}::text"
            wanted = [f"%{each.encode().hex() if is_bytes else each}%" for each in needles]
            hit: Any = await connection.fetchval(
                f"SELECT 1 FROM {row['table_schema']}.{table} WHERE {text} LIKE ANY($1::text[]) LIMIT 1",
                wanted,
            )
            if hit is not None:
                found.add((table, column))
    return found


def of_end_user(fate: str) -> set[Column]:
    """The columns with this fate when the end user is deleted."""
    return {column for column, each in inventory().items() if each.of_end_user == fate}


async def test_the_export_has_what_the_inventory_says(operator: Device, ports: Ports, tenant: Tenant) -> None:
    life = await lead_a_life(operator, ports)
    await plant(ports, life, tenant.test_world)
    marked = await mark(ports, life, tenant.test_world)
    answer = await operator.client.post(f"/v1/end-users/{life.person}/export", headers=operator.headers)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        whole = b"".join(archive.read(name) + name.encode() for name in archive.namelist())
    assert life.word.upper().encode() in whole
    found = {column for column in marked if marker(life, column).encode() in whole}
    assert found == {column for column in marked if inventory()[column].exported}
    assert {column for column in set(inventory()) - marked if column[1] not in IDS} == {
        OF_THE_DEVICE,
        MEANING,
        ("pgqueuer", "payload"),
    }
    assert life.person.encode() in whole


# The rows of one recording, `$3`, by their tables.
OF_RECORDING = {
    "recordings": "id = $3",
    "transcriptions": "recording_id = $3",
    "summaries": "recording_id = $3 AND status = 'completed'",
    "summary_parts": "summary_id IN (SELECT id FROM summaries WHERE recording_id = $3)",
    "audio_facts": "recording_id = $3",
    "search_chunks": "recording_id = $3",
    "transcription_pieces": "transcription_id IN (SELECT id FROM transcriptions WHERE recording_id = $3)",
    "events": "resource_id = $3 OR resource_id IN (SELECT id FROM transcriptions WHERE recording_id = $3)",
    "webhook_attempts": "delivery_id IN (SELECT id FROM webhook_deliveries WHERE resource_id = $3)",
    "idempotency_keys": "true",
    "holds": "resource_id = $3",
    "ask_sessions": "true",
    "ask_messages": "role = 'assistant'",
    "ask_answers": "true",
}


async def test_each_column_has_its_fate_when_the_recording_is_deleted(
    operator: Device, ports: Ports, tenant: Tenant
) -> None:
    life, world = await lead_a_life(operator, ports), tenant.test_world
    await plant(ports, life, world)
    kept = {column for column, fate in inventory().items() if fate.of_recording == KEPT}
    at_once = {column for column, fate in inventory().items() if fate.of_recording == AT_ONCE}
    by_the_job = {column for column, fate in inventory().items() if fate.of_recording == BY_THE_JOB}
    ids = {column for column in kept | at_once | by_the_job if column[1] in IDS}
    about = (kept | at_once | by_the_job) - ids - {DETAILS, MEANING}
    assert {table for table, _ in about} == set(OF_RECORDING)
    word = f"{life.word}recording"
    async with ports.database.acquire() as connection:
        recording: str = await connection.fetchval(
            "SELECT recording_id FROM media WHERE world_id = $1 LIMIT 1", world
        )
        for table, column in sorted(about):
            kind = "bytea" if column in BYTES else "text"
            value = "convert_to($2, 'UTF8')" if kind == "bytea" else "$2"
            if column == "words":
                value = "array_to_tsvector(ARRAY[$2])"
            if column == "metadata":
                value = "jsonb_build_object('m', $2::text)"
            await connection.execute(
                f"UPDATE {table} SET {column} = {value} WHERE world_id = $1 AND ({OF_RECORDING[table]})"
                + (" AND $3::text IS NOT NULL" if "$3" not in OF_RECORDING[table] else ""),
                world,
                word,
                recording,
            )
    assert await holding(ports, word) == about
    await operator.call("DELETE", f"/v1/recordings/{recording}", 204)
    assert await holding(ports, word) == about & (kept | by_the_job)
    removal = ErasedEvents(ports)
    while await removal.remove_some():
        pass
    assert await holding(ports, word) == about & kept


async def test_each_column_has_its_fate_when_the_end_user_is_deleted(
    operator: Device, ports: Ports, tenant: Tenant
) -> None:
    life = await lead_a_life(operator, ports)
    await plant(ports, life, tenant.test_world)
    needles, of_device = (life.person, life.word), life.word.upper()
    reached = await holding(ports, *needles, of_device)
    assert set(inventory()) - reached == OF_A_DELETION | {MEANING}, "the life does not reach these columns"
    await operator.call("DELETE", f"/v1/end-users/{life.person}", 204)
    left = await holding(ports, *needles)
    assert left & of_end_user(AT_ONCE) == set()
    await finish(ports, tenant.test_world, life.person)
    left = await holding(ports, *needles)
    assert left == of_end_user(KEPT) - {OF_THE_DEVICE}
    # An event about the unbound device has the metadata of the device.
    assert await holding(ports, of_device) == {OF_THE_DEVICE, ("events", "body")}
