"""The programs on the page for receivers accept what is genuine, and nothing else.

Deliveries are signed here from the contract alone, and not by Lapel.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import re
import shutil
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from sys import executable
from typing import NamedTuple

import httpx
import pytest

from tests.support.patience import LONG
from tests.support.ports import free_ports

PAGE = Path(__file__).parents[2] / "docs" / "receivers.md"
RAW = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(RAW).decode()
OTHER = bytes(32)
BODY = (
    b'{"id":"evt_1","type":"recording.uploaded","created_at":"2026-11-28T09:00:00.000Z",'
    b'"data":{"\xc3\xbc":1}}'
)


class Language(NamedTuple):
    """How the page's program in a language is started."""

    block: str
    file: str
    command: tuple[str, ...]


LANGUAGES = {
    "python": Language("python", "receiver.py", (executable,)),
    "node": Language("js", "receiver.cjs", ("node",)),
    "go": Language("go", "receiver.go", ("go", "run")),
}


def blocks(language: str) -> list[str]:
    """The page's code in one language."""
    return re.findall(
        rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def signature(event_id: str, sent_at: str, body: bytes, key: bytes = RAW) -> str:
    """The value of `webhook-signature`, as Standard Webhooks has it."""
    made = hmac.new(key, f"{event_id}.{sent_at}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(made).decode()


def headers(event_id: str, *, ago: int = 0, body: bytes = BODY, signed: str | None = None) -> dict[str, str]:
    """The headers of a delivery that was sent some seconds ago."""
    sent_at = str(int(time.time()) - ago)
    return {
        "content-type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": sent_at,
        "webhook-signature": signed or signature(event_id, sent_at, body),
        "x-lapel-sequence": "7",
    }


@asynccontextmanager
async def receiver(
    language: Language, folder: Path
) -> AsyncGenerator[tuple[httpx.AsyncClient, asyncio.StreamReader]]:
    """The page's program, listening; and what it prints."""
    (program,) = blocks(language.block)
    (folder / language.file).write_text(program, encoding="utf-8")
    (port,) = free_ports(1)
    process = await asyncio.create_subprocess_exec(
        *language.command,
        language.file,
        cwd=folder,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "WEBHOOK_SECRET": SECRET, "PORT": str(port), "GOCACHE": str(folder / "cache")},
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=LONG
        ) as client:
            while process.returncode is None:
                try:
                    await client.get("/")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.02)
            yield client, process.stdout
    finally:
        os.killpg(process.pid, 9)
        await process.communicate()


@pytest.mark.parametrize("name", LANGUAGES)
async def test_the_program_takes_what_is_genuine(name: str, tmp_path: Path) -> None:
    language = LANGUAGES[name]
    if shutil.which(language.command[0]) is None:
        pytest.skip(f"no {name} on this machine")
    now = str(int(time.time()))
    rotated = f"{signature('evt_3', now, BODY, OTHER)} {signature('evt_3', now, BODY)}"
    async with receiver(language, tmp_path) as (client, printed):

        async def post(body: bytes, sent: dict[str, str]) -> bool:
            answer = await client.post("/", content=body, headers=sent)
            assert answer.status_code in (204, 401)
            return answer.status_code == 204

        assert await post(BODY, headers("evt_1"))
        assert await post(BODY, headers("evt_1"))  # a repeat
        assert await post(BODY, headers("evt_2", ago=240))
        assert await post(BODY, headers("evt_3") | {"webhook-timestamp": now, "webhook-signature": rotated})
        assert not await post(BODY.replace(b"1}", b"2}"), headers("evt_4"))
        assert not await post(BODY, headers("evt_4", ago=400))
        assert not await post(BODY, headers("evt_4", ago=-400))
        assert not await post(BODY, headers("evt_4") | {"webhook-id": "evt_5"})
        assert not await post(BODY, headers("evt_4") | {"webhook-timestamp": "soon"})
        assert not await post(BODY, headers("evt_4", signed=signature("evt_4", now, BODY, OTHER)))
        for nonsense in ("v1,", "", "v1", "v2," + signature("evt_4", now, BODY)[3:], "ü"):
            sent = headers("evt_4") | {"webhook-timestamp": now}
            raw = [
                (key.encode(), value.encode()) for key, value in sent.items() if key != "webhook-signature"
            ]
            answer = await client.post(
                "/", content=BODY, headers=[*raw, (b"webhook-signature", nonsense.encode())]
            )
            assert answer.status_code == 401, nonsense
        assert await post(BODY, headers("evt_6"))
        lines = [await printed.readline() for _ in range(4)]
    # The program names the event of the body; each id only once.
    assert lines == [b"7 recording.uploaded evt_1\n"] * 4


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine")
@pytest.mark.parametrize("tampered", [False, True])
async def test_the_shell_verifies_both_signatures(tampered: bool, tmp_path: Path) -> None:
    now = str(int(time.time()))
    (tmp_path / "body.json").write_bytes(BODY + b" " * tampered)
    both = f"{signature('evt_1', now, BODY, OTHER)} {signature('evt_1', now, BODY)}"
    bota = hmac.new(SECRET.encode(), f"{now}.".encode() + BODY, hashlib.sha256).hexdigest()
    for script in blocks("bash"):
        shell = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            script,
            cwd=tmp_path,
            stdout=PIPE,
            env={
                "PATH": os.environ["PATH"],
                "WEBHOOK_SECRET": SECRET,
                "WEBHOOK_ID": "evt_1",
                "WEBHOOK_TIMESTAMP": now,
                "WEBHOOK_SIGNATURE": both,
                "X_BOTA_TIMESTAMP": now,
                "X_BOTA_SIGNATURE": f"v1={bota}",
            },
        )
        told, _ = await shell.communicate()
        assert told == (b"not genuine\n" if tampered else b"genuine\n")
    assert len(blocks("bash")) == 2
