"""Automatic summaries: made when a transcription completes, if the configuration says so."""

from __future__ import annotations

from typing import Any

from lapel import app
from lapel.slices.transcription.service import Transcriptions
from tests.summaries.support import Desk


async def completed(desk: Desk, configuration: dict[str, Any], **facts: Any) -> list[dict[str, Any]]:
    """The summaries that there are after a transcription has completed."""
    path = f"/v1/end-users/{facts['end_user_id']}/config/processing" if facts else "/v1/config/processing"
    await desk.call("PATCH", path, 200, {"auto_summary": configuration})
    transcription_id = await desk.transcribed(**facts)
    read = await desk.call("GET", f"/v1/transcriptions/{transcription_id}", 200)
    hooks = app.open_services(desk.ports)[Transcriptions].on_complete
    for _ in range(2):  # a transcription may complete again after a crash
        async with desk.ports.database.transaction() as connection:
            for hook in hooks:
                await hook(connection, desk.tenant.test_world, read["recording_id"], transcription_id)
    listed = await desk.call("GET", f"/v1/summaries?transcription_id={transcription_id}", 200)
    return listed["data"]


async def test_a_completed_transcription_is_summarized_if_the_configuration_says_so(desk: Desk) -> None:
    assert await completed(desk, {"enabled": False}) == []
    wanted = {"enabled": True, "template": "legal_memo", "provider": "claude"}
    (made,) = await completed(desk, wanted)
    assert (made["status"], made["template"], made["provider"]) == ("pending", "legal_memo", "claude")
    shown = await desk.worked(made["id"])
    assert (shown["status"], shown["model"]) == ("completed", "extractive")


async def test_an_end_users_configuration_counts_before_the_projects(desk: Desk) -> None:
    end_user = await desk.end_user()
    (made,) = await completed(desk, {"enabled": True}, end_user_id=end_user)
    assert (made["template"], made["provider"]) == ("general_notes", "gemini")


async def test_a_template_that_does_not_exist_fails_the_summary_alone(desk: Desk) -> None:
    (made,) = await completed(desk, {"enabled": True, "template": "tmpl_gone"})
    shown = await desk.worked(made["id"])
    assert (shown["status"], shown["error"]["code"]) == ("failed", "template_not_found")
