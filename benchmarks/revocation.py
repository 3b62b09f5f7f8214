"""Requests that are accepted although they start after the answer that revokes their key.

Run `python -m benchmarks.revocation`. Two API processes share a port while LAPEL_SECRET changes: half of the
keys were made under the previous secret. Clients on 16 connections use a key before and after it is revoked.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import asyncpg
import httpx

from benchmarks.report import Row, show
from benchmarks.rig import Api, rig
from lapel.foundation.core.clock import SystemClock
from lapel.foundation.core.ids import TimeOrderedIds
from lapel.foundation.identity import seal
from lapel.foundation.identity.tokens import hint, new_token

KEYS = 10
REQUESTS = 255
CONNECTIONS = 16
_SECRET_BEFORE = "the-benchmark's-secret-before-the-change"
_KEY = """
INSERT INTO api_keys (world_id, id, secret_hash, kind, hint, scopes, created_at)
VALUES ($1, $2, $3, 'secret', $4, '{}', now())
"""


@dataclass(slots=True)
class _Seen:
    """The answers to requests with one key; times in monotonic seconds."""

    revoked_at: float | None = None
    passed_before: int = 0
    used: asyncio.Event = field(default_factory=asyncio.Event)  # used often enough to be in every cache
    after: int = 0
    passed_after: list[float] = field(default_factory=list[float])

    def note(self, began: float, status: int) -> None:
        """Count one answer."""
        if status not in (200, 401):
            raise RuntimeError(f"a read is answered {status}")
        if self.revoked_at is None or began < self.revoked_at:
            self.passed_before += status == 200
            if self.passed_before >= 20 * CONNECTIONS:
                self.used.set()
            return
        self.after += 1
        if status == 200:
            self.passed_after.append(began - self.revoked_at)


def measure() -> list[Row]:
    """How many of the requests that started after the 204 were accepted."""
    with rig() as made:
        database = made.database("revocation", 20)
        api = made.lapel(database, processes=2, LAPEL_SECRET_PREVIOUS=_SECRET_BEFORE)
        return asyncio.run(_measure(api))


async def _measure(api: Api) -> list[Row]:
    present = str(api.settings.secret)
    return [
        _row("key of the present secret", [await _revoke(api, present) for _ in range(KEYS)]),
        _row("key of the secret before", [await _revoke(api, _SECRET_BEFORE) for _ in range(KEYS)]),
    ]


def _row(name: str, seen: list[_Seen]) -> Row:
    late = [each for one in seen for each in one.passed_after]
    last = f", the last at {max(late):.2f} s" if late else ""
    return Row(
        f"passed after the 204: {name}",
        len(late),
        "requests",
        at_most=0,
        detail=f"of {sum(one.after for one in seen)} that started after it, {len(seen)} keys"
        f" ({sum(one.passed_before for one in seen)} passed before){last}",
    )


async def _revoke(api: Api, secret: str) -> _Seen:
    """Use a new key on all connections, revoke it, and use it REQUESTS times more."""
    key_id, token = await _new_key(api, secret)
    seen = _Seen()
    limits = httpx.Limits(max_connections=CONNECTIONS + 1)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{api.port}", limits=limits, timeout=30, trust_env=False
    ) as client:
        using = [asyncio.create_task(_use(client, token, seen)) for _ in range(CONNECTIONS)]
        await seen.used.wait()
        gone = await client.delete(f"/v1/api-keys/{key_id}", headers=_bearer(api.filled.key))
        seen.revoked_at = time.monotonic()
        if gone.status_code != 204:
            raise RuntimeError(f"the revocation is answered {gone.status_code}")
        await asyncio.gather(*using)
    return seen


async def _use(client: httpx.AsyncClient, token: str, seen: _Seen) -> None:
    while seen.after < REQUESTS:
        began = time.monotonic()
        answer = await client.get("/v1/devices?limit=1", headers=_bearer(token))
        seen.note(began, answer.status_code)


async def _new_key(api: Api, secret: str) -> tuple[str, str]:
    """Id and secret of a new key, as a server with this LAPEL_SECRET makes it."""
    token, key_id = new_token("sk_live"), TimeOrderedIds(SystemClock()).new("key")
    token_hash = seal.token_hasher(secret, None).hash(token)
    connection = await asyncpg.connect(api.settings.database_url)
    try:
        await connection.execute(_KEY, api.filled.world_id, key_id, token_hash, hint(token))
    finally:
        await connection.close()
    return key_id, token


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


if __name__ == "__main__":
    show(measure())
