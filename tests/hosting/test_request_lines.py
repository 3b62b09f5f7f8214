"""The log of a running server has the line of each answer that somebody may ask about."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from lapel.foundation.telemetry import flush_log
from tests.support.client import api_client
from tests.support.log_lines import logged_lines
from tests.support.plain_http import http
from tests.support.running import running
from tests.support.serving import eventually, serving
from tests.support.tenants import make_tenant


def test_each_error_and_each_write_is_found_by_its_request_id(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(tmp_path / "data", log=log) as served:
        headers = {"Authorization": f"Bearer {served.told['key']}"}
        url = f"{served.url}/v1"
        ids: dict[str, int] = {}
        for _ in range(5):
            for answer in (
                http.get(f"{url}/recordings/rec_none", headers=headers),
                http.get(f"{url}/nothing", headers=headers),
                http.get(f"{url}/recordings", headers={"Authorization": "Bearer sk_live_x"}),
                http.post(f"{url}/end-users", headers=headers, json={}),
                http.get(f"{served.url}/metrics", headers={"X-Forwarded-For": "203.0.113.9"}),
                http.post(f"{served.url}/metrics"),
            ):
                ids[answer.headers["x-request-id"]] = answer.status_code
            ids[id_of_refused(served.url)] = 431

        def found() -> dict[str, int]:
            lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
            return {
                each["request_id"]: each["status"]
                for each in lines
                if each["event"] == "request" and each["request_id"] in ids
            }

        eventually(lambda: found() == ids)
        last = http.post(f"{url}/end-users", headers=headers, json={}).headers["x-request-id"]
        assert served.stop() == 0
        assert last in log.read_text(), "what waits is written at the end"
    assert set(ids.values()) == {201, 401, 403, 404, 405, 431}


def id_of_refused(url: str) -> str:
    """The id of a request that no operation sees, because its head is too large."""
    address = urlsplit(url).hostname, urlsplit(url).port
    with socket.create_connection(address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"x" * 100_000)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    found = re.search(rb"x-request-id: (\w+)", answer)
    assert found is not None, answer
    return found[1].decode()


async def test_each_refusal_and_each_write_of_the_store_is_found_by_its_id(
    fresh_database: str, tmp_path: Path
) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    content, traced = b"what was said", {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    async with running(tmp_path, fresh_database) as live, api_client(live.url) as client:
        headers = (await make_tenant(live.ports)).headers
        end_user = (await client.post("/v1/end-users", json={}, headers=headers)).json()["id"]
        made = await client.post("/v1/recordings", json={"end_user_id": end_user}, headers=headers)
        where = f"/v1/recordings/{made.json()['id']}"
        size = {"file_size_bytes": len(content)}
        link = (await client.post(f"{where}/upload-url", json=size, headers=headers)).json()
        url, sent = link["upload_url"], link["headers"] | traced
        with logged_lines() as stream:
            ids = {
                answer.headers["x-amz-request-id"]: answer.status_code
                for answer in (
                    await client.put(url, content=b"too long" * 9, headers=sent),
                    await client.put(f"{url}0", content=content, headers=sent),
                    await client.put(url, content=content, headers=sent),
                    await client.get(f"{live.url}/store/lapel/object", headers=traced),
                )
            }
            flush_log()
            lines = {each["request_id"]: each for each in map(json.loads, stream.getvalue().splitlines())}
    assert {name: lines[name]["status"] for name in ids} == ids
    shown = [(lines[each]["operation"], lines[each]["status"], lines[each].get("error")) for each in ids]
    assert shown == [
        ("store_put", 403, "SignatureDoesNotMatch"),
        ("store_put", 403, "SignatureDoesNotMatch"),
        ("store_put", 200, None),
        ("store_get", 403, "AccessDenied"),
    ]
    assert {lines[each]["trace_id"] for each in ids} == {trace}
