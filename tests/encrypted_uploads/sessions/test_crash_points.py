"""An API process may end anywhere in a request: the repeat is answered, and nothing is done twice."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.hosting.sockets import listen
from lapel.slices.encrypted_uploads import sessions
from lapel.slices.encrypted_uploads.slice import SLICE
from tests.encrypted_uploads.sessions.support import row_of
from tests.faults.processes import CRASHED, armed, errand, instructions, process, run_schedules
from tests.recordings.support import objects
from tests.support.client import api_client
from tests.support.postgres import create_database, drop_database
from tests.support.running import Running, running, settings_for
from tests.support.sealed_uploads import Json, Phone, manifest_body, phone_of, recovery_body, seal
from tests.support.tenants import make_tenant

POINTS = [point for point in SLICE.crash_points if not point.startswith("encrypted-publish:")]
OF_REQUESTS = [point for point in POINTS if not point.startswith("encrypted-clear:")]
OF_CLEARING = [point for point in POINTS if point.startswith("encrypted-clear:")]
COUNT = "SELECT count(*) FROM encrypted_upload_sessions WHERE recording_id = $1"
ENTRIES = "SELECT count(*) FROM audit_log WHERE resource_type = 'encrypted_upload' AND resource_id = $1"
JOBS = "SELECT count(*) FROM jobs.pgqueuer WHERE convert_from(payload, 'UTF8') LIKE $1"
_CALL = re.compile(r"crash_point\(\s*\"([^\"]+)\"\s*\)")


def test_every_point_is_listed_once_and_every_listed_one_exists() -> None:
    files = Path(sessions.__path__[0]).rglob("*.py")
    assert sorted(POINTS) == sorted(name for file in files for name in _CALL.findall(file.read_text()))


@dataclass(frozen=True)
class Scene:
    """A server that stays, and a phone of it; beside it a process that ends at some points."""

    live: Running
    phone: Phone
    dying: Phone
    folder: Path

    async def dies(self, point: str, method: str, path: str, body: Json) -> None:
        """Send a request to the process that ends at this point."""
        _, marker = armed(self.folder, point)
        with pytest.raises(httpx.TransportError):
            await self.dying.client.request(method, path, json=body, headers=self.phone.headers)
        assert not marker.exists(), f"{point} was not reached"

    async def count(self, statement: str, argument: str) -> int:
        async with self.live.ports.database.acquire() as connection:
            return await connection.fetchval(statement, argument)


@pytest.mark.deep
@pytest.mark.timeout(240)
async def test_a_request_whose_process_dies_can_be_repeated(
    postgres: EmbeddedPostgres, quick_folder: Path
) -> None:
    url = await asyncio.to_thread(create_database, postgres, "session-kills", "template")
    with listen("127.0.0.1", 0)[0] as listener:
        async with running(quick_folder / "data", url) as live, api_client(live.url) as client:
            port: int = listener.getsockname()[1]
            kept = live.settings
            settings = settings_for(kept.data_dir, url, port, LAPEL_S3_ENDPOINT=kept.s3_endpoint or "")
            crash = instructions(quick_folder, OF_REQUESTS)
            tenant = await make_tenant(live.ports)
            async with (
                process("api", settings, crash=crash, listener=listener),
                api_client(f"http://127.0.0.1:{port}") as other,
            ):
                phone = await phone_of(client, tenant)
                scene = Scene(live, phone, replace(phone, client=other), quick_folder)
                for point in OF_REQUESTS:
                    await request_dies(scene, point)
            for point in OF_CLEARING:
                await clearing_dies(scene, point)
    await asyncio.to_thread(drop_database, postgres, "session-kills")


async def request_dies(scene: Scene, point: str) -> None:
    """The request dies at this point; its repeat is answered as if nothing had been."""
    phone, sealed, kind = scene.phone, seal(), point.partition(":")[0]
    committed = point.endswith(":committed")
    recording_id = await phone.announce()
    path = f"/v1/recordings/{recording_id}/encrypted-upload-v2/sessions"
    if kind == "encrypted-session":
        await scene.dies(point, "POST", path, phone.creation(sealed))
        session = await phone.create(recording_id, sealed)
        assert await scene.count(COUNT, recording_id) == 1
        assert await scene.count(ENTRIES, session["session_id"]) == 1
        return
    session = await phone.create(recording_id, sealed)
    await phone.put(session["staging"], sealed.content)
    one = f"{path}/{session['session_id']}"
    if kind == "encrypted-manifest":
        document = sealed.manifest(session)
        await scene.dies(point, "POST", f"{one}/manifest", manifest_body(session, document))
        assert ((await row_of(scene.live.ports, session))["state"] == "ready") == committed
        await phone.send(session, document, 202)
        assert await scene.count(JOBS, f"%{session['session_id']}%") == 1
        assert await scene.count(ENTRIES, session["session_id"]) == 2
    elif kind == "encrypted-recover":
        body = recovery_body(session, bytes(16))
        await scene.dies(point, "POST", f"{one}/recover", body)
        successor = await phone.recover(session, bytes(16), 200 if committed else 201)
        assert await scene.count(COUNT, recording_id) == 2
        assert await scene.count(ENTRIES, successor["session_id"]) == 1
    else:
        await scene.dies(point, "DELETE", one, {"owner_revision": 1})
        assert ((await phone.read(session))["state"] == "cancelled") == committed
        await phone.cancel(session)
        assert await scene.count(ENTRIES, session["session_id"]) == 2


async def clearing_dies(scene: Scene, point: str) -> None:
    """The sweep dies at this point; the next one ends its work."""
    session = await scene.phone.staged(seal())
    await scene.phone.cancel(session)
    crash, marker = armed(scene.folder, point)
    assert await errand(scene.live.settings, crash, timedelta(0)) == CRASHED
    assert not marker.exists()
    prefix = f"sealed/{session['project_id']}/{session['recording_id']}/"
    assert await objects(scene.live.ports, prefix) == []
    for ahead in (timedelta(0), timedelta(hours=26)):
        await run_schedules(scene.live.settings, ahead)
    assert (await row_of(scene.live.ports, session))["clear_at"] is None
