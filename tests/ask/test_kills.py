"""A process that makes an answer may end anywhere: question and answer are there both, or neither."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from lapel.hosting.sockets import listen
from lapel.slices.ask.slice import SLICE
from tests.ask.conftest import ROOF, Asker
from tests.faults.processes import armed, instructions, process
from tests.support.client import CHECKED, still_runs
from tests.support.event_stream import following
from tests.support.patience import patience
from tests.support.running import Running, settings_for

LOSE = "UPDATE ask_answers SET seen_at = seen_at - interval '1 minute' WHERE world_id = $1"
LEFT = "SELECT count(*) FROM ask_answers WHERE world_id = $1 AND state <> 'failed'"


@pytest.mark.deep
@pytest.mark.timeout(240)
async def test_an_answer_that_dies_is_there_whole_or_not_at_all(
    asker: Asker, asking: Running, quick_folder: Path
) -> None:
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen("127.0.0.1", 0)[0])
        port: int = listener.getsockname()[1]
        kept = asking.settings
        settings = settings_for(
            kept.data_dir, kept.database_url or "", port, LAPEL_S3_ENDPOINT=kept.s3_endpoint or ""
        )
        crash = instructions(quick_folder, SLICE.crash_points)
        await stack.enter_async_context(process("api", settings, crash=crash, listener=listener))
        client = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False, event_hooks=CHECKED
            )
        )
        recording_id = await asker.recording(*ROOF)
        for point in SLICE.crash_points:
            session = await asker.session(recording_id)
            await _dies(asker, asking, client, session["id"], point, quick_folder)


async def _dies(
    asker: Asker, asking: Running, client: httpx.AsyncClient, session_id: str, point: str, folder: Path
) -> None:
    path, body = f"/v1/ask/sessions/{session_id}/messages", {"content": "When is the roof repaired?"}
    headers = {**asker.device.headers, "Idempotency-Key": point.replace(":", "-")}
    _, marker = armed(folder, point)
    with pytest.raises(httpx.TransportError):
        await client.post(path, json=body, headers=headers)
    for _ in range(600):
        if not marker.exists():
            break
        await asyncio.sleep(0.05)
    stored = await asker.messages(session_id)
    assert len(stored) == (2 if point == "ask:committed" else 0)
    async with asking.ports.database.acquire() as connection:
        await connection.execute(LOSE, asker.world_id)
    if not stored:
        async with asking.ports.database.acquire() as connection:
            answer_id: str = await connection.fetchval(
                "SELECT id FROM ask_answers WHERE world_id = $1 AND session_id = $2",
                asker.world_id,
                session_id,
            )
        stream = f"{path}/stream"
        async with following(asking.url, headers, stream=stream, message_id=answer_id) as (_, events):
            assert [each.name async for each in events] == ["error"]
    answer = await _repeat(asker, path, body, headers)
    assert answer.status_code == 200, answer.text
    messages = await asker.messages(session_id)
    assert len(messages) == 2
    assert messages[1] == answer.json()["message"]
    assert (await asker.read(session_id))["message_count"] == 2


async def _repeat(asker: Asker, path: str, body: dict[str, str], headers: dict[str, str]) -> httpx.Response:
    """The answer to a repeated call. PostgreSQL releases the key's lock a moment after the process died."""
    async with patience(30):
        while True:
            answer = await asker.device.client.post(path, json=body, headers=headers)
            if not still_runs(answer):
                return answer
            await asyncio.sleep(0.05)
