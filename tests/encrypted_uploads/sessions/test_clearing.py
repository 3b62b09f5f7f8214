"""Staged objects go when nothing needs them any more, and never before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from lapel.foundation.ports import Ports
from lapel.foundation.storage.client import ObjectStore
from lapel.slices.encrypted_uploads.payloads import PublishSession
from lapel.slices.encrypted_uploads.sessions.clearing import Clearing
from lapel.slices.erasure.service import Erasures
from tests.encrypted_uploads.publication.support import Other, publishing
from tests.encrypted_uploads.sessions.support import later, row_of, set_session
from tests.recordings.support import objects
from tests.support.a_life import finish
from tests.support.sealed_uploads import Json, Phone, seal
from tests.support.tenants import Tenant

SEALED = seal()
LOCK = "SELECT 1 FROM encrypted_upload_sessions WHERE id = $1 FOR UPDATE NOWAIT"
COUNT = "SELECT count(*) FROM encrypted_upload_sessions WHERE id = $1"
DAY = timedelta(hours=25, minutes=1)
NOW = timedelta(0)


async def there(ports: Ports, session: Json) -> bool:
    """Whether the session's object is in the store."""
    prefix = f"sealed/{session['project_id']}/{session['recording_id']}/"
    return f"{prefix}{session['session_id']}" in await objects(ports, prefix)


async def cleared(ports: Ports, by: timedelta) -> None:
    """What the schedule does after some time."""
    await later(ports, by, Clearing).run_due()


async def test_a_cancelled_session_is_cleared_at_once_and_again(phone: Phone, ports: Ports) -> None:
    session = await phone.staged(SEALED)
    await cleared(ports, NOW)
    assert await there(ports, session)
    await phone.cancel(session)
    await cleared(ports, NOW)
    assert not await there(ports, session)
    # Its link is still valid, so the object may come again.
    assert (await phone.put(session["staging"], SEALED.content)).status_code == 200
    await cleared(ports, timedelta(hours=1))
    assert await there(ports, session)
    await cleared(ports, DAY)
    assert not await there(ports, session)
    assert (await row_of(ports, session))["clear_at"] is None


async def test_no_row_is_locked_while_the_store_deletes(
    phone: Phone, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await phone.staged(SEALED)
    await phone.cancel(session)
    locked: list[object] = []
    delete_many = ObjectStore.delete_many

    async def slow(store: ObjectStore, keys: Sequence[str]) -> None:
        async with ports.database.transaction() as connection:
            locked.append(await connection.fetchval(LOCK, session["session_id"]))
        await delete_many(store, keys)

    monkeypatch.setattr(ObjectStore, "delete_many", slow)
    await cleared(ports, NOW + timedelta(seconds=1))
    assert locked == [1]
    assert not await there(ports, session)


@pytest.mark.parametrize("state", ["published", "failed"])
async def test_an_ended_session_is_cleared(phone: Phone, ports: Ports, state: str) -> None:
    session, _ = await phone.accepted(SEALED)
    if state == "failed":
        await set_session(ports, session, state=state, failure_code="expired", clear_at="now()")
    else:
        receipt = "\\x" + "00" * 336
        await set_session(ports, session, state=state, receipt=receipt, clear_at="now()")
    await cleared(ports, timedelta(seconds=1))
    assert not await there(ports, session)
    assert (await row_of(ports, session))["sealed_recipient_key"] is None
    assert (await phone.put(session["staging"], SEALED.content)).status_code == 200
    await cleared(ports, DAY)
    assert not await there(ports, session)


async def test_an_expired_session_is_cleared_a_day_later(phone: Phone, ports: Ports) -> None:
    session = await phone.staged(SEALED)
    await cleared(ports, timedelta(hours=24, minutes=59))
    assert await there(ports, session)
    assert (await row_of(ports, session))["sealed_recipient_key"] is not None
    await cleared(ports, DAY)
    assert not await there(ports, session)
    row = await row_of(ports, session)
    assert (row["state"], row["sealed_recipient_key"], row["clear_at"]) == ("staging", None, None)


async def test_a_session_that_was_cleared_stays_expired_when_the_clock_goes_back(
    phone: Phone, ports: Ports
) -> None:
    session = await phone.staged(SEALED)
    await cleared(ports, DAY)
    await phone.put(session["staging"], SEALED.content)
    assert (await phone.read(session))["state"] == "expired"
    refused = await phone.send(session, SEALED.manifest(session), 409)
    assert refused["error"]["code"] == "conflict"
    await phone.staging_url(session, 409)
    await phone.recover(session, bytes(16))


async def test_a_manifest_that_is_accepted_while_the_object_is_deleted_keeps_its_key(
    phone: Phone, ports: Ports, tenant: Tenant
) -> None:
    """The clock of the worker is a day ahead of that of the API. The upload fails, and can be made again."""
    session = await phone.staged(SEALED)

    async def delete_many(keys: Sequence[str]) -> None:
        await phone.send(session, SEALED.manifest(session))
        await ports.store.delete_many(keys)

    store: Any = Other(ports.store, delete_many=delete_many)
    await cleared(replace(ports, store=store), DAY)
    async with publishing(ports) as publisher:
        await publisher.publish(PublishSession(tenant.test_world, session["session_id"]))
    shown = await phone.read(session)
    assert (shown["state"], shown["error"]["code"]) == ("failed", "integrity_failed")
    await phone.create(session["recording_id"], SEALED)


async def test_a_recovered_session_keeps_only_the_new_object(phone: Phone, ports: Ports) -> None:
    session = await phone.staged(SEALED)
    successor = await phone.recover(session, bytes(16))
    await phone.put(successor["staging"], SEALED.content)
    await cleared(ports, timedelta(seconds=1))
    assert not await there(ports, session)
    assert await there(ports, successor)


@pytest.mark.parametrize("state", ["ready", "processing"])
async def test_an_accepted_manifest_keeps_its_object(phone: Phone, ports: Ports, state: str) -> None:
    session, _ = await phone.accepted(SEALED)
    await set_session(ports, session, state=state)
    await cleared(ports, timedelta(days=30))
    await later(ports, timedelta(days=30), Clearing).run_walk()
    assert await there(ports, session)
    assert (await row_of(ports, session))["sealed_recipient_key"] is not None


async def test_the_walk_deletes_what_no_session_leads_to(phone: Phone, ports: Ports) -> None:
    staging, late, gone = [await phone.staged(seal()) for _ in range(3)]
    await phone.cancel(late)
    await cleared(ports, DAY)  # the expired ones, too
    for session in (staging, late):
        row = await row_of(ports, session)
        assert row["clear_at"] is None
        await ports.store.put(row["staging_key"], b"later still")
    key = (await row_of(ports, gone))["staging_key"]
    await phone.call("DELETE", f"/v1/recordings/{gone['recording_id']}", 204)
    await ports.store.put(key, b"after the erasure")
    fresh = await phone.staged(seal())
    await later(ports, timedelta(hours=24), Clearing).run_walk()
    assert await there(ports, late)
    await later(ports, DAY, Clearing).run_walk()
    for session in (staging, late, gone):
        assert not await there(ports, session)
    assert await there(ports, fresh), "its own clearing comes later"
    await cleared(ports, DAY)


async def test_erasing_a_recording_waits_for_its_last_link(phone: Phone, ports: Ports) -> None:
    session = await phone.staged(SEALED)
    await phone.call("DELETE", f"/v1/recordings/{session['recording_id']}", 204)
    path = f"/v1/erasures?resource_id={session['recording_id']}"
    (entry,) = (await phone.call("GET", path, 200))["data"]
    assert entry["links_expire_at"] >= session["expires_at"]
    await later(ports, timedelta(minutes=6), Erasures).run_due()
    assert not await there(ports, session)
    assert (await phone.put(session["staging"], SEALED.content)).status_code == 200
    await later(ports, timedelta(minutes=70), Erasures).run_due()
    assert (await phone.call("GET", path, 200))["data"][0]["state"] == "erased"
    await later(ports, timedelta(minutes=80), Erasures).run_due()
    assert (await phone.call("GET", path, 200))["data"][0]["state"] == "closed"
    assert not await there(ports, session)


async def test_erasing_an_end_user_takes_sessions_and_objects_with_it(
    phone: Phone, ports: Ports, tenant: Tenant
) -> None:
    session, _ = await phone.accepted(SEALED)
    await phone.call("DELETE", f"/v1/end-users/{phone.end_user_id}", 204)
    await phone.staging_url(session, 404)
    await finish(ports, tenant.test_world, phone.end_user_id)
    assert not await there(ports, session)
    async with ports.database.acquire() as connection:
        assert await connection.fetchval(COUNT, session["session_id"]) == 0
