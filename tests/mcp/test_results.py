"""What tools have made, other tools read."""

from __future__ import annotations

import httpx

from lapel.foundation.ports import Ports
from tests.contract.resources import populate
from tests.mcp.clients import connected, told
from tests.support.running import Running
from tests.support.spoken import complete_transcription
from tests.support.summarized import complete_summary


async def test_what_is_made_can_be_read(live: Running, client: httpx.AsyncClient, ports: Ports) -> None:
    """With the package's client, as an assistant does: make a transcription and a summary, and read both."""
    own = await populate(client, ports)
    recording, world = own.recordings["uploaded"].id, own.tenant.test_world
    async with connected(live.url, own.tenant.test_key) as mcp:
        made = told(await mcp.call_tool("create_transcription", {"recording_id": recording}))
        assert made["status"] == "pending"
        await complete_transcription(ports, world, made["id"])
        read = told(await mcp.call_tool("get_transcription", {"id": made["id"]}))
        assert (read["status"], read["id"]) == ("completed", made["id"])
        assert read["text"]
        listed = told(await mcp.call_tool("list_transcriptions", {"recording_id": recording}))
        assert made["id"] in [each["id"] for each in listed["data"]]
        body = {"transcription_id": made["id"], "template": "general"}
        summary = told(await mcp.call_tool("create_summary", body))
        await complete_summary(ports, world, summary["id"])
        whole = told(await mcp.call_tool("get_summary", {"id": summary["id"]}))
        assert whole["status"] == "completed"
        listed = told(await mcp.call_tool("list_summaries", {"transcription_id": made["id"]}))
        assert [each["id"] for each in listed["data"]] == [summary["id"]]
    async with connected(live.url, own.end_user.token) as mcp:
        assert told(await mcp.call_tool("get_my_transcription", {"id": made["id"]})) == read
        assert told(await mcp.call_tool("get_my_summary", {"id": summary["id"]})) == whole
        mine = told(await mcp.call_tool("list_my_transcriptions", {"limit": 1}))["data"]
        assert [each["id"] for each in mine] == [made["id"]]
        mine = told(await mcp.call_tool("list_my_summaries", {"recording_id": recording, "limit": 1}))["data"]
        assert [each["id"] for each in mine] == [summary["id"]]
    async with connected(live.url, own.other_end_user.token) as mcp:
        assert told(await mcp.call_tool("list_my_transcriptions", {}))["data"] == []
        for tool, key in (("get_my_transcription", made["id"]), ("get_my_summary", summary["id"])):
            refused = await mcp.call_tool(tool, {"id": key})
            assert refused.is_error
