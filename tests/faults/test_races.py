"""Races that the random tests have found, each played again in exactly the order that went wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx

from lapel.foundation.core.actors import Actor
from lapel.foundation.ports import Ports
from lapel.slices.recordings.access import Reach
from lapel.slices.recordings.uploads.completion import Completion
from lapel.slices.recordings.uploads.snapshot import look
from lapel.slices.recordings.wire import CompleteUpload
from tests.support.tenants import Tenant

CONTENT = b"what was said"


async def uploaded_but_not_completed(client: httpx.AsyncClient, tenant: Tenant) -> Reach:
    """A recording whose bytes are in the store."""
    owner = (await client.post("/v1/end-users", json={}, headers=tenant.headers)).json()["id"]
    body = {"end_user_id": owner}
    recording = (await client.post("/v1/recordings", json=body, headers=tenant.headers)).json()["id"]
    asked = await client.post(f"/v1/recordings/{recording}/upload-url", json={}, headers=tenant.headers)
    link = asked.json()
    assert (await client.put(link["upload_url"], content=CONTENT, headers=link["headers"])).status_code == 200
    return Reach(tenant.test_world, recording)


async def complete(client: httpx.AsyncClient, tenant: Tenant, at: Reach) -> None:
    """The faster one."""
    path = f"/v1/recordings/{at.recording_id}/upload-complete"
    assert (await client.post(path, json={}, headers=tenant.headers)).status_code == 200


class Interrupted:
    """`target`, with something else happening just before or just after one of its methods, once."""

    def __init__(
        self, target: Any, method: str, meanwhile: Callable[[], Awaitable[None]], *, after: bool
    ) -> None:
        self._target = target
        self._method = method
        self._meanwhile: Callable[[], Awaitable[None]] | None = meanwhile
        self._after = after

    def __getattr__(self, name: str) -> Any:
        if name != self._method or self._meanwhile is None:
            return getattr(self._target, name)
        meanwhile, self._meanwhile = self._meanwhile, None

        async def interrupted(*arguments: Any) -> Any:
            if not self._after:
                await meanwhile()
            result = await getattr(self._target, name)(*arguments)
            if self._after:
                await meanwhile()
            return result

        return interrupted


async def test_one_look_at_a_recording_is_of_one_moment(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant
) -> None:
    at = await uploaded_but_not_completed(client, tenant)
    async with ports.database.acquire() as connection:
        torn = Interrupted(connection, "fetchrow", lambda: complete(client, tenant, at), after=True)
        snapshot = await look(torn, at)  # pyright: ignore[reportArgumentType]
        assert snapshot.status == "pending"
        assert [each.status for each in snapshot.media] == ["pending"]
        now = await look(connection, at)
        assert (now.status, [each.status for each in now.media]) == ("uploaded", ["uploaded"])


async def test_a_completion_that_comes_second_promises_what_the_first_one_took(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant
) -> None:
    """The first one claims the row and deletes the staged object between our look and our search for it."""
    at = await uploaded_but_not_completed(client, tenant)
    slow_store = Interrupted(ports.store, "head", lambda: complete(client, tenant, at), after=False)
    slow = Completion(replace(ports, store=slow_store))
    actor = Actor(kind="key", id="key_1", world_id=at.world_id, project_id=tenant.project_id, mode="test")
    answer = await slow.complete(actor, at, CompleteUpload())
    assert answer.status == "uploaded"
    assert answer.content_sha256 == hashlib.sha256(CONTENT).hexdigest()


async def test_a_refused_audio_beside_a_promised_picture_stays_refused_on_repeat(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    """The first refusal may have been lost: its repeat tells the owner to upload again, not to wait."""
    owner = (await client.post("/v1/end-users", json={}, headers=tenant.headers)).json()["id"]
    body = {"end_user_id": owner}
    recording = (await client.post("/v1/recordings", json=body, headers=tenant.headers)).json()["id"]
    for kind, facts, codes in (
        ("image", {}, [None]),
        ("audio", {"content_sha256": "0" * 64}, ["integrity_failure"] * 2),
    ):
        path = f"/v1/recordings/{recording}"
        asked = await client.post(f"{path}/upload-url", json={"type": kind}, headers=tenant.headers)
        link = asked.json()
        await client.put(link["upload_url"], content=CONTENT, headers=link["headers"])
        for code in codes:
            answer = await client.post(f"{path}/upload-complete", json=facts, headers=tenant.headers)
            assert answer.json().get("error", {}).get("code") == code
