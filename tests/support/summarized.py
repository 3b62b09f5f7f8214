"""The rows that work on a summary leaves behind, written without doing the work."""

from __future__ import annotations

import json

from lapel.foundation.ports import Ports
from lapel.slices.summaries.work import summary_lifecycle

OUTPUT = {
    "overview": "Good morning, everybody.",
    "key_points": ["Hello."],
    "action_items": ["Say hello."],
    "participants": ["SPEAKER_0", "SPEAKER_1"],
    "decisions": ["They say hello."],
    "evidence": {
        "overview": [[{"start_ms": 500, "end_ms": 2000}]],
        "key_points": [[{"start_ms": 2500, "end_ms": 3000}]],
        "action_items": [[{"start_ms": 2500, "end_ms": 3000}]],
        "participants": [[{"start_ms": 500, "end_ms": 2000}], [{"start_ms": 2500, "end_ms": 3000}]],
        "decisions": [[{"start_ms": 2500, "end_ms": 3000}]],
    },
}


async def complete_summary(ports: Ports, world_id: int, summary_id: str, output: object = OUTPUT) -> None:
    """Marks the summary as completed, with this output."""
    async with ports.database.transaction() as connection:
        await summary_lifecycle.start(connection, ports, world_id, summary_id)
        encoded = json.dumps(output).encode()
        await summary_lifecycle.complete(
            connection, ports, world_id, summary_id, ("extractive", encoded, b"[]")
        )
