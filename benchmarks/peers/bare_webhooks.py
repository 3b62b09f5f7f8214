"""A bare loop that signs and posts: `python -m benchmarks.peers.bare_webhooks URL SECONDS AT_ONCE`.

aiohttp as the engine uses it, without database, guard, leases, retries and outcomes. Prints posts a second
and CPU microseconds of a post.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aiohttp

from lapel.foundation.identity.webhook_signatures import delivery_headers, new_secret

BODY = b'{"id":"evt_0","type":"made.bench","created_at":"2026-01-15T12:00:00.000Z","data":{"x":"%b"}}' % (
    b"x" * 900
)
SECRET = new_secret(bytes(32))


async def _post(session: aiohttp.ClientSession, url: str, until: float) -> int:
    count = 0
    while time.monotonic() < until:
        headers = delivery_headers("evt_0", 1, BODY, timestamp=int(time.time()), secrets=[SECRET])
        async with session.post(url, data=BODY, headers=headers, allow_redirects=False) as response:
            await response.read()
            count += response.status == 204
    return count


async def _run(url: str, seconds: float, at_once: int) -> None:
    began, cpu = time.monotonic(), time.process_time()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        counts = await asyncio.gather(*(_post(session, url, began + seconds) for _ in range(at_once)))
    total = sum(counts)
    spent = time.process_time() - cpu
    print(json.dumps({"rate": total / (time.monotonic() - began), "cpu_us": spent / total * 1e6}))


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
