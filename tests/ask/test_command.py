"""`lapel ask`: as it is run beside a server."""

from __future__ import annotations

import asyncio
import json
import os

from tests.ask.conftest import ROOF, Asker
from tests.ask.scripted import says
from tests.support.running import Running
from tests.support.warm import Warm


async def run(asker: Asker, asking: Running, *arguments: str) -> tuple[int, str, str]:
    """Exit status, output and errors of the command."""
    own = {"LAPEL_URL": asking.url, "LAPEL_KEY": asker.device.tenant.test_key}

    def call() -> tuple[int, str, str]:
        with Warm("ask", *arguments, env=os.environ | own) as process:
            output, errors = process.communicate(timeout=60)
            return process.returncode or 0, output, errors

    return await asyncio.to_thread(call)


async def test_an_answer_is_printed_with_its_seconds(asker: Asker, asking: Running) -> None:
    asker.script(says("The roof is repaired in May [{repaired}]. It costs 4200 euros [{euros}]."))
    recording_id = await asker.recording(*ROOF)
    question = "When is the roof of the school repaired?"
    status, output, errors = await run(asker, asking, question, "--recording", recording_id)
    assert (status, output) == (0, "The roof is repaired in May [00:10]. It costs 4200 euros [00:20].\n"), (
        errors
    )
    status, output, errors = await run(asker, asking, question)  # the only end user
    assert status == 0, errors
    assert f"in May [{recording_id} 00:10]." in output
    status, output, errors = await run(asker, asking, question, "--recording", recording_id, "--json")
    assert json.loads(output)["message"]["model"] == "scripted-1"


async def test_a_refused_question_says_why(asker: Asker, asking: Running) -> None:
    recording_id = await asker.device.recording()
    status, output, errors = await run(asker, asking, "When?", "--recording", recording_id)
    assert (status, output) == (1, "")
    assert "no completed transcription" in errors
    await asker.library.end_user()
    status, _, errors = await run(asker, asking, "When?")
    assert status == 1
    assert "--end-user" in errors
