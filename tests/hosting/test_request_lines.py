"""The log of a running server has the line of each answer that somebody may ask about."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.plain_http import http
from tests.support.serving import eventually, serving


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
