"""A worker is killed at every named point; the next one goes on, and nothing is told or done twice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.slices.providers.slots.operator import OperatorProviders, Wanted
from lapel.slices.summaries.slice import SLICE
from tests.faults.processes import armed, instructions, process
from tests.recordings.support import events_of
from tests.summaries.support import desk_of, entry, general
from tests.support.client import api_client
from tests.support.language_services import LanguageService, serving
from tests.support.language_services.asked import Asked
from tests.support.patience import patience
from tests.support.postgres import create_database, drop_database
from tests.support.running import running
from tests.support.tenants import make_tenant

# So small a window that the transcript has several parts.
WINDOW = 8_000
SAID = [(f"SPEAKER_{n % 2}", f"Point {n}: the pump in the hall leaks again. " * 6) for n in range(40)]
SLOW = 100.0


def answer(asked: Asked) -> str:
    """What the service writes about each part, and what it finds when it reads an entry again."""
    if is_reading(asked):
        return '{"cases": [{"case": 1, "line": 1, "difference": "", "verdict": "supported"}]}'
    return general(overview=entry("The pump in the hall leaks again.", 1))


def is_reading(asked: Asked) -> bool:
    """Whether a request lets the second reader judge something."""
    return asked.messages[0][1].startswith("case 1")


@pytest.mark.deep
async def test_whatever_the_worker_was_at_the_next_one_finishes_it(
    postgres: EmbeddedPostgres, quick_folder: Path
) -> None:
    points = list(SLICE.crash_points)
    database = create_database(postgres, "crash_summaries", "template")
    service = LanguageService("openai", answer, size=200)
    async with (
        running(quick_folder, database, clock=None, LAPEL_OUTBOUND_NETWORKS="127.0.0.0/8") as live,
        api_client(live.url) as client,
        serving(service),
    ):
        tenant = await make_tenant(live.ports)
        desk = desk_of(client, tenant, live.ports)
        operator = OperatorProviders(live.ports, mode="test", project_id=tenant.project_id)
        wanted = Wanted(key=service.key, base_url=service.base_url, context_tokens=WINDOW)
        await operator.set("openai", wanted)
        transcription_id = await desk.transcribed(SAID)
        async with process("worker", live.settings, crash=instructions(quick_folder, points)) as worker:
            for number, point in enumerate(points, 1):
                service.asked.clear()
                _, marker = armed(quick_folder, point)
                made = await desk.ask(transcription_id, provider="openai")
                async with patience(SLOW):
                    while (shown := await desk.get(made["id"]))["status"] != "completed":
                        assert shown["status"] != "failed", shown
                        await asyncio.sleep(0.05)
                    while worker.crashes < number:  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.05)
                assert (worker.crashes, marker.exists()) == (number, False), point
                assert await desk.value("SELECT count(*) FROM summary_work") == 0
                told = await events_of(live.ports, tenant.test_world, made["id"])
                assert told == ["summary.started", "summary.completed"], point
                assert await desk.value("SELECT count(*) FROM summary_parts") == 0
                # What was written about a part is not asked for again.
                questions = [json.dumps(each.messages) for each in service.asked if not is_reading(each)]
                assert len(questions) == len(set(questions)) > 2, point
    drop_database(postgres, "crash_summaries")
