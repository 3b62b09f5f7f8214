"""An end user of whom every part of the server knows something, and a search for it in all tables."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import count

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from lapel import app
from lapel.foundation.ports import Ports
from lapel.slices.erasure.payloads import EraseEndUser
from lapel.slices.erasure.service import Erasures
from lapel.slices.transcription import events
from lapel.slices.transcription.service import Transcriptions
from tests.recordings.support import Device, actor_of
from tests.support.erasing import delete_rows
from tests.support.spoken import TRANSCRIPT, complete_transcription, look_at_audio
from tests.support.tenants import bearer, make_key

COLUMNS = """
SELECT c.table_schema, c.table_name, c.column_name, c.data_type FROM information_schema.columns c
JOIN information_schema.tables t USING (table_schema, table_name)
WHERE t.table_type = 'BASE TABLE' AND c.table_schema NOT IN ('pg_catalog', 'information_schema')
    AND c.table_name !~ '^search_vectors_[0-9]' -- partitions
"""
# (table, column): what keeps the id of an erased end user, and why, is told by docs/erasure.md.
ALLOWED = {
    ("audit_log", "actor_id"),
    ("audit_log", "resource_id"),
    ("end_users", "id"),
    ("erasures", "end_user_id"),
    ("erasures", "resource_id"),
    ("holds", "resource_id"),
}
_numbers = count(1)
SOUND = b"OggS" + bytes(99)
IMAGE = b"\xff\xd8\xff\xe0" + bytes(50)


@dataclass(frozen=True, slots=True)
class Life:
    """The id of an end user, and a word that stands in all that is stored about this end user alone."""

    person: str
    word: str

    @property
    def name(self) -> str:
        """The name of the end user, and of the recording."""
        return f"{self.word} Doe"


async def lead_a_life(operator: Device, ports: Ports) -> Life:
    """A new end user: two devices are bound now, two were, and are bound to others."""
    once, word = {"Idempotency-Key": "once"}, f"zq{next(_numbers)}q"
    facts = {
        "external_id": f"crm:{word}-1",
        "name": f"{word} Doe",
        "email": f"{word}@example.com",
        "metadata": {"city": f"{word}town"},
    }
    person: str = (await operator.post("/v1/end-users", 201, facts, **once))["id"]
    life = Life(person, word)
    world = operator.tenant.test_world
    at = f"/v1/end-users/{person}"
    await operator.post(f"{at}/token", 201, {})
    await operator.call("PATCH", f"{at}/config/processing", 200, {"auto_summary": {"template": word}})
    scoped = await make_key(ports, world, "rk_test", end_user_id=person)
    async with ports.database.acquire() as connection:
        await connection.execute(
            "UPDATE api_keys SET name = $3 WHERE world_id = $1 AND end_user_id = $2", world, person, word
        )
    await operator.client.post("/v1/recordings", json={}, headers={**bearer(scoped), **once})
    for number in range(4):
        await _wear(operator, life, number)
    await _hold(operator, at, life)
    await record(operator, ports, life)
    return life


async def _hold(operator: Device, path: str, life: Life) -> None:
    """A legal hold that was placed and released."""
    await operator.post(f"{path}/hold", 201, {"reason": f"the case of {life.word}"})
    await operator.call("DELETE", f"{path}/hold", 204)


async def _wear(operator: Device, life: Life, number: int) -> None:
    name = f"{life.word}'s {number}"
    device: str = (await operator.post("/v1/devices", 201, {"serial_number": f"ZQ-{number}"}))["id"]
    path = f"/v1/devices/{device}"
    bind = {"Idempotency-Key": f"b{number}"}
    bound = await operator.post(f"{path}/bind", 200, {"end_user_id": life.person}, **bind)
    own = bearer(bound["device_token"])
    if number % 2:
        await operator.call("PATCH", path, 200, {"name": name})
    event = {"event_id": f"{number:016x}", "note": name}
    beat = {
        "device_name": name if not number % 2 else None,
        "battery_percent": 3,
        "client_context": {"owner": life.name},
        "diagnostics": {"schema_version": 1, "events": [event]},
    }
    await operator.post(f"{path}/heartbeat", 200, {k: v for k, v in beat.items() if v is not None}, **own)
    command = {"type": "start_recording", "params": {"metadata": {"for": life.name}}}
    await operator.post(f"{path}/commands", 201, command, **{"Idempotency-Key": f"c{number}"})
    if number >= 2:
        await operator.post(f"{path}/unbind", 200)
        # The device reports without a wearer, then another end user wears it: both make events of the device.
        await operator.post(f"{path}/heartbeat", 200, {"battery_percent": 90})
        await operator.post(f"{path}/heartbeat", 200, {"battery_percent": 4})
        other = await operator.end_user()
        await operator.post(f"{path}/bind", 200, {"end_user_id": other})


async def record(operator: Device, ports: Ports, life: Life) -> str:
    """The id of a new recording of the end user, with audio, an image and two transcriptions."""
    world = operator.tenant.test_world
    recording, media = await operator.upload(SOUND, end_user_id=life.person, name=life.name)
    image = await operator.start(recording, type="image", content_type="image/jpeg")
    await operator.put(image, IMAGE)
    await operator.complete(recording)
    for _ in range(2):
        made = await operator.post("/v1/transcriptions", 201, {"recording_id": recording})
        said = replace(TRANSCRIPT.segments[0], text=f"I am {life.word}, good morning.")
        await complete_transcription(ports, world, made["id"], replace(TRANSCRIPT, segments=[said]))
        shown = await app.open_services(ports)[Transcriptions].read(actor_of(operator.tenant), made["id"])
        async with ports.database.transaction() as connection:
            now, without = ports.clock.now(), replace(shown, segments=UNSET)
            await events.publish(connection, ports.ids, now, world, "completed", without, life.person)
    await look_at_audio(ports, world, recording, media)
    question = {"content": f"Who said: I am {life.word}, good morning?"}
    body = {"scope": {"type": "recording", "recording_id": recording}, "initial_message": question}
    await operator.post("/v1/ask/sessions", 201, body)
    await _hold(operator, f"/v1/recordings/{recording}", life)
    return recording


async def naming(ports: Ports, *needles: str) -> set[tuple[str, str]]:
    """Every (table, column) with a row in which one of these stands, as text or as bytes."""
    texts = [f"%{each}%" for each in needles]
    hexes = [f"%{each.encode().hex()}%" for each in needles]
    async with ports.database.acquire() as connection:
        tables: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for schema, table, column, kind in await connection.fetch(COLUMNS):
            is_there = f"{column}::text LIKE ANY($1::text[])"
            if kind == "bytea":
                is_there = f"encode({column}, 'hex') LIKE ANY($2::text[])"
            tables[schema, table].append(f"CASE WHEN bool_or({is_there}) THEN '{column}' END")
        # One statement for all tables, which reads each of them once.
        found = await connection.fetch(
            " UNION ALL ".join(
                f"SELECT '{table}', array_remove(ARRAY[{', '.join(columns)}], NULL) FROM {schema}.{table}"
                for (schema, table), columns in tables.items()
            ),
            texts,
            hexes,
        )
    return {(table, column) for table, columns in found for column in columns}


async def finish(ports: Ports, world_id: int, person: str) -> None:
    """What a worker does after a deletion, at once; the jobs themselves are gone when they are done."""
    await delete_rows(ports, world_id, person)
    await app.open_services(ports)[Erasures].erase_end_user(EraseEndUser(world_id, person))
    async with ports.database.acquire() as connection:
        await connection.execute(
            "DELETE FROM jobs.pgqueuer WHERE payload = $1 AND entrypoint IN"
            " ('erasure.end-user', 'recordings.delete-of-end-user')",
            msgspec.json.encode(EraseEndUser(world_id, person)),
        )
