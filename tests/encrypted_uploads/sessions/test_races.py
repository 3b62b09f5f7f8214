"""Several requests at once: one of them wins, and the others see what it did."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import httpx
import pytest

from lapel.foundation.ports import Ports
from tests.encrypted_uploads.sessions.support import row_of
from tests.support.sealed_uploads import (
    Json,
    Phone,
    base64_of,
    manifest_body,
    owned,
    path_of,
    recovery_body,
    seal,
    sessions,
)

SEALED = seal()
COUNT = "SELECT count(*) FROM encrypted_upload_sessions WHERE recording_id = $1"
JOBS = "SELECT count(*) FROM jobs.pgqueuer WHERE convert_from(payload, 'UTF8') LIKE $1"


async def send(phone: Phone, method: str, path: str, body: Json) -> httpx.Response:
    return await phone.client.request(method, path, json=body, headers=phone.headers)


async def count(ports: Ports, statement: str, argument: str) -> int:
    async with ports.database.acquire() as connection:
        return await connection.fetchval(statement, argument)


async def test_the_same_creation_many_times_at_once_makes_one_session(phone: Phone, ports: Ports) -> None:
    recording_id = await phone.announce()
    body = phone.creation(SEALED)
    answers = await asyncio.gather(*(send(phone, "POST", sessions(recording_id), body) for _ in range(8)))
    assert sorted(each.status_code for each in answers) == [200] * 7 + [201]
    assert len({each.json()["session_id"] for each in answers}) == 1
    assert await count(ports, COUNT, recording_id) == 1


async def test_of_different_creations_at_once_one_wins(phone: Phone, ports: Ports) -> None:
    recording_id = await phone.announce()
    bodies = [phone.creation(SEALED, auth_nonce_base64=base64_of(os.urandom(16))) for _ in range(6)]
    answers = await asyncio.gather(*(send(phone, "POST", sessions(recording_id), each) for each in bodies))
    assert sorted(each.status_code for each in answers) == [201] + [409] * 5
    assert await count(ports, COUNT, recording_id) == 1


async def test_one_name_goes_to_one_of_two_recordings(phone: Phone) -> None:
    recordings = [await phone.announce() for _ in range(2)]
    body = phone.creation(SEALED)
    answers = await asyncio.gather(*(send(phone, "POST", sessions(each), body) for each in recordings))
    assert sorted(each.status_code for each in answers) == [201, 409]


async def test_of_two_manifests_at_once_one_is_accepted(phone: Phone, ports: Ports) -> None:
    session = await phone.staged(SEALED)
    documents = [SEALED.manifest(session) for _ in range(2)] * 3
    answers = await asyncio.gather(
        *(
            send(phone, "POST", f"{path_of(session)}/manifest", manifest_body(session, each))
            for each in documents
        )
    )
    assert sorted(each.status_code for each in answers) == [202] * 3 + [409] * 3
    accepted = {documents[at] for at, each in enumerate(answers) if each.status_code == 202}
    assert accepted == {(await row_of(ports, session))["manifest"]}
    assert await count(ports, JOBS, f"%{session['session_id']}%") == 1


@pytest.mark.parametrize("ending", ["recover", "cancel"])
async def test_a_manifest_or_an_end_but_never_both(phone: Phone, ports: Ports, ending: str) -> None:
    for _ in range(4):
        sealed = seal()
        session = await phone.staged(sealed)
        accept = send(
            phone, "POST", f"{path_of(session)}/manifest", manifest_body(session, sealed.manifest(session))
        )
        other: Any = (
            send(phone, "DELETE", path_of(session), owned(session))
            if ending == "cancel"
            else send(
                phone,
                "POST",
                f"{path_of(session)}/recover",
                recovery_body(session, bytes(16)),
            )
        )
        accepted, ended = await asyncio.gather(accept, other)
        row = await row_of(ports, session)
        if accepted.status_code == 202:
            assert (ended.status_code, row["state"]) == (409, "ready")
        else:
            assert accepted.status_code == 409
            assert accepted.json()["error"]["code"] == "conflict"
            assert (ended.is_success, row["state"], row["manifest"]) == (True, "cancelled", None)


async def test_the_same_recovery_many_times_at_once_makes_one_successor(phone: Phone, ports: Ports) -> None:
    session = await phone.create(await phone.announce(), SEALED)
    body = recovery_body(session, os.urandom(16))
    answers = await asyncio.gather(
        *(send(phone, "POST", f"{path_of(session)}/recover", body) for _ in range(6))
    )
    assert sorted(each.status_code for each in answers) == [200] * 5 + [201]
    assert len({each.json()["session_id"] for each in answers}) == 1
    assert await count(ports, COUNT, session["recording_id"]) == 2


async def test_deleting_the_recording_meanwhile(phone: Phone, ports: Ports) -> None:
    for _ in range(3):
        sealed = seal()
        session = await phone.staged(sealed)
        path = path_of(session)
        answers = await asyncio.gather(
            send(phone, "POST", f"{path}/manifest", manifest_body(session, sealed.manifest(session))),
            send(phone, "POST", f"{path}/recover", recovery_body(session, bytes(16))),
            send(phone, "POST", sessions(session["recording_id"]), phone.creation(sealed)),
            send(phone, "DELETE", f"/v1/recordings/{session['recording_id']}", {}),
        )
        assert answers[3].status_code == 204
        assert {each.status_code for each in answers} <= {200, 201, 202, 204, 404, 409}
        assert await count(ports, COUNT, session["recording_id"]) == 0
