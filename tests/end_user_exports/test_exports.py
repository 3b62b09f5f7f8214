"""The export of an end user: everything, of nobody else, in a zip that any program reads."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import zipfile
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from lapel import app
from lapel.foundation.core.errors import NotFound, Unavailable
from lapel.foundation.ports import Ports
from lapel.foundation.storage.client import ObjectStore
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.slices.end_user_exports.service import EndUserExports
from lapel.slices.projects.scopes import SCOPES
from tests.recordings.support import Device, actor_of
from tests.support.a_life import IMAGE, SOUND, lead_a_life
from tests.support.tenants import Tenant, bearer, make_key

Json = dict[str, Any]
# Tokens, and signed tokens (JWT) from their start: an id may have eyJ in its middle.
SECRET = re.compile(rb"\b(?:(?:sk|rk|dtok|eut|up|whsec)_[A-Za-z0-9_]{20,}|eyJ[\w-]{10,})")


class Archive:
    """An export that was read: every file is as the manifest says."""

    def __init__(self, content: bytes) -> None:
        self.zip = zipfile.ZipFile(io.BytesIO(content))
        assert self.zip.testzip() is None
        self.names = self.zip.namelist()
        assert Counter(self.names).most_common(1)[0][1] == 1
        assert not [each for each in self.names if re.search(r"^/|\\|(^|/)\.\.?(/|$)", each)]
        self.manifest = self.json("manifest.json")
        assert self.names[-1] == "manifest.json"
        cut = {each["path"] for each in self.manifest["left_out"] if each["is_cut"]}
        assert {each["path"] for each in self.manifest["files"]} == set(self.names) - {"manifest.json"} - cut
        for file in self.manifest["files"]:
            found = self.zip.read(file["path"])
            assert (len(found), hashlib.sha256(found).hexdigest()) == (file["size"], file["sha256"])

    def json(self, path: str) -> Any:
        """A file's content, decoded."""
        return json.loads(self.zip.read(path))

    def of(self, pattern: str) -> list[str]:
        """The paths that match."""
        return [each for each in self.names if re.fullmatch(pattern, each)]


# What is erased with an end user, newest first.
BELONGING = """
SELECT a.id, a.action FROM audit_log a JOIN audit_details d ON d.world_id = a.world_id AND d.entry_id = a.id
WHERE d.world_id = $1 AND d.end_user_id = $2 ORDER BY a.id DESC
"""


@pytest.fixture
def operator(client: httpx.AsyncClient, tenant: Tenant) -> Device:
    """The tenant's secret key."""
    return Device(client, tenant, tenant.headers)


async def exported(operator: Device, person: str, expect: int = 200, /, **headers: str) -> httpx.Response:
    """The answer of an export."""
    answer = await operator.client.post(
        f"/v1/end-users/{person}/export", headers={**operator.headers, **headers}
    )
    assert answer.status_code == expect, answer.text[:300]
    return answer


async def test_the_zip_has_everything_as_the_api_shows_it(
    operator: Device, ports: Ports, tmp_path: Path
) -> None:
    life = await lead_a_life(operator, ports)
    person = life.person
    await operator.upload(b"OggSother", name="of somebody else")
    answer = await exported(operator, person)
    assert answer.headers["content-type"] == "application/zip"
    assert re.fullmatch(
        rf'attachment; filename="{person}-\d{{4}}-\d\d-\d\d.zip"', answer.headers["content-disposition"]
    )
    assert "content-length" not in answer.headers
    archive = Archive(answer.content)
    assert archive.manifest["left_out"] == []

    async def get(path: str) -> Json:
        return await operator.call("GET", f"/v1/{path}", 200)

    assert archive.json("end_user.json") == await get(f"end-users/{person}")
    assert archive.json("configuration.json") == await get(f"end-users/{person}/config")
    devices = archive.json("devices.json")
    assert devices == (await get(f"devices?end_user_id={person}"))["data"]
    assert len(devices) == 2
    reports = archive.json("device_states.json")
    assert [each["state"] for each in reports] == [
        await get(f"devices/{each['id']}/state") for each in devices
    ]
    assert [each["client_context"] for each in reports] == [{"owner": life.name}] * 2
    commands = archive.json("commands.json")
    shown = [row for each in devices for row in (await get(f"devices/{each['id']}/commands"))["data"]]
    assert len(commands) == 4  # also those of the devices that are worn no more
    for each in shown:
        each.pop("grant_token")
        assert each in commands
    assert {each["body"]["note"] for each in archive.json("diagnostics.json")} >= {f"{life.word}'s 2"}
    assert {each["type"] for each in archive.json("events.json")} >= {"device.bound", "device.unbound"}
    assert archive.json("api_keys.json")[0]["end_user_id"] == person
    assert set(archive.json("end_user_token.json")) == {"created_at", "expires_at", "issued_by"}
    async with ports.database.acquire() as connection:
        belonging = await connection.fetch(BELONGING, operator.tenant.test_world, person)
    entries = archive.json("audit_log.json")
    assert [each["id"] for each in entries] == [id_ for id_, action in belonging if action[:5] != "hold."]
    assert {action for _, action in belonging} >= {
        "command.created", "config.updated", "device.bound", "device.updated", "end_user.exported",
        "hold.placed", "hold.released", "recording.upload_started", "transcription.created",
    }  # fmt: skip

    listed = (await get(f"recordings?end_user_id={person}"))["data"]
    assert len(listed) == len(archive.of(r"recordings/\w+/recording\.json")) == 2
    for recording in listed:
        folder = f"recordings/{recording['id']}"
        assert archive.json(f"{folder}/recording.json") == recording
        assert archive.json(f"{folder}/events.json")[0]["type"] == "recording.created"
    (spoken,) = [each["id"] for each in listed if each["media"]]
    folder = f"recordings/{spoken}"
    assert archive.zip.read(f"{folder}/{life.name}.opus") == SOUND
    assert archive.zip.read(f"{folder}/{life.name}.jpg") == IMAGE
    transcripts = archive.of(rf"{folder}/transcriptions/\w+\.json")
    assert len(transcripts) == 2  # also the one that no list shows
    for path in transcripts:
        whole = await get(f"transcriptions/{Path(path).stem}?include=words")
        assert archive.json(path) == whole
        text = await operator.client.get(
            f"/v1/transcriptions/{Path(path).stem}/export", headers=operator.headers
        )
        assert archive.zip.read(path.replace(".json", ".txt")) == text.content
    assert "transcription.completed" in [each["type"] for each in archive.json(f"{folder}/events.json")]
    _no_secrets(archive)
    _others_read_it(answer.content, tmp_path)


def _no_secrets(archive: Archive) -> None:
    for name in archive.names:
        assert SECRET.findall(archive.zip.read(name)) == [], name


def _others_read_it(content: bytes, folder: Path) -> None:
    path = folder / "export.zip"
    path.write_bytes(content)
    done = subprocess.run(["unzip", "-t", path], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


# --- those who may, and what is counted


async def test_a_key_needs_the_scopes_for_all_that_is_in_it(
    operator: Device, ports: Ports, tenant: Tenant
) -> None:
    person = await operator.end_user()
    for lacking in ("end_users:read", "devices:read", "config:read", "audit:read", "transcriptions:read"):
        scopes = tuple(each for each in SCOPES if each != lacking)
        token = await make_key(ports, tenant.test_world, "rk_test", scopes=scopes)
        answer = await exported(operator, person, 403, **bearer(token))
        assert f"`{lacking}`" in answer.json()["error"]["message"]


async def test_a_key_of_one_end_user_exports_this_one_alone(
    operator: Device, ports: Ports, tenant: Tenant
) -> None:
    person, other = await operator.end_user(), await operator.end_user()
    token = await make_key(ports, tenant.test_world, "rk_test", scopes=SCOPES, end_user_id=person)
    archive = Archive((await exported(operator, person, 200, **bearer(token))).content)
    assert archive.json("end_user.json")["id"] == person
    assert archive.of(r".*audit_log\.json") == [], "this key may not read it over the API either"
    await exported(operator, other, 404, **bearer(token))
    own = (await operator.post(f"/v1/end-users/{person}/token", 201, {}))["token"]
    await exported(operator, person, 403, **bearer(own))


async def test_each_export_is_in_the_audit_log_and_a_refused_one_is_not(operator: Device) -> None:
    person = await operator.end_user()
    await exported(operator, person)
    await exported(operator, "eu_nobody", 404)
    await operator.call("DELETE", f"/v1/end-users/{person}", 204)
    await exported(operator, person, 404)
    entries = (await operator.call("GET", "/v1/audit-log", 200))["data"]
    found = [
        (each["actor"]["kind"], each["resource_id"])
        for each in entries
        if each["action"] == "end_user.exported"
    ]
    assert found == [("key", person)]


# --- names


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("../../etc/passwd", "_.._etc_passwd.opus"),
        ("/etc/cron.d/x", "_etc_cron.d_x.opus"),
        ("C:\\Windows\\system32", "C_Windows_system32.opus"),
        ("CON", "_CON.opus"),
        ("..", "{id}.opus"),
        ("a\u202egpj.exe", "agpj.exe.opus"),
        ("Besprechung für 日本 🎙", "Besprechung für 日本 🎙.opus"),
        ("x" * 255, "x" * 100 + ".opus"),
    ],
)
async def test_a_hostile_name_stays_in_its_folder(
    operator: Device, tmp_path: Path, name: str, found: str
) -> None:
    person = await operator.end_user()
    recording, _ = await operator.upload(SOUND, end_user_id=person, name=name)
    answer = await exported(operator, person)
    archive = Archive(answer.content)
    assert archive.of(r"recordings/\w+/.*\.opus") == [f"recordings/{recording}/{found.format(id=recording)}"]
    _others_read_it(answer.content, tmp_path)


async def test_two_media_of_one_name_are_two_files(operator: Device) -> None:
    person = await operator.end_user()
    recording, _ = await operator.upload(SOUND, end_user_id=person, name="Same")
    for content in (IMAGE + b"1", IMAGE + b"2"):
        await operator.put(await operator.start(recording, type="image", content_type="image/jpeg"), content)
        await operator.complete(recording)
    archive = Archive((await exported(operator, person)).content)
    folder = f"recordings/{recording}"
    images = {archive.zip.read(f"{folder}/Same{number}.jpg")[-1:] for number in ("", " (2)")}
    assert images == {b"1", b"2"}


# --- what changes while it is made


class Slow:
    """An export that the test reads piece by piece, so that it can change something between two pieces."""

    def __init__(self, content: AsyncGenerator[bytes]) -> None:
        self._content = content
        self.made = bytearray()

    async def until(self, text: bytes) -> None:
        """Read until this text has come: names of files stand in the zip as they are."""
        while text not in self.made:
            self.made += await anext(self._content)

    async def rest(self) -> bytes:
        """Read to the end; gives the whole zip."""
        async for piece in self._content:
            self.made += piece
        return bytes(self.made)


async def slow(ports: Ports, tenant: Tenant, person: str) -> Slow:
    """An export of a small end user is one piece: each recording gets a large media first."""
    service = app.open_services(ports)[EndUserExports]
    reply = await service.export(actor_of(tenant), person)
    assert not isinstance(reply.body, bytes)
    return Slow(reply.body)


LARGE = b"OggS" + bytes(9 * 2**20)


@pytest.fixture
async def two(operator: Device) -> tuple[str, str, str]:
    """An end user, and two recordings: the export has the newer one, the second, first."""
    person = await operator.end_user()
    older, _ = await operator.upload(LARGE, end_user_id=person, name="older")
    newer, _ = await operator.upload(LARGE, end_user_id=person, name="newer")
    return person, older, newer


async def test_what_is_deleted_meanwhile_is_named(
    operator: Device, ports: Ports, tenant: Tenant, two: tuple[str, str, str]
) -> None:
    person, older, newer = two
    export = await slow(ports, tenant, person)
    await export.until(f"recordings/{newer}/newer.opus".encode())
    await operator.call("DELETE", f"/v1/recordings/{older}", 204)
    archive = Archive(await export.rest())
    assert archive.zip.read(f"recordings/{newer}/newer.opus") == LARGE
    assert archive.of(f"recordings/{older}/.*") == []
    reason = "deleted while the export was made"
    assert archive.manifest["left_out"] == [
        {"path": f"recordings/{older}/recording.json", "reason": reason, "is_cut": False}
    ]


async def test_an_object_that_goes_while_it_is_read_is_cut_and_called_so(
    operator: Device, ports: Ports, tenant: Tenant, two: tuple[str, str, str]
) -> None:
    person, older, _ = two
    content = LARGE + bytes(9 * 2**20)  # three ranges: while one is sent, the next is read
    newer, _ = await operator.upload(content, end_user_id=person, name="newest")
    async with ports.database.acquire() as connection:
        keys = {
            row["recording_id"]: row["object_key"]
            for row in await connection.fetch(
                "SELECT recording_id, object_key FROM media WHERE world_id = $1", tenant.test_world
            )
        }
    store = Losing(ports.store, keys[newer])
    await ports.store.delete(keys[older])
    export = await slow(replace(ports, store=cast("ObjectStore", store)), tenant, person)
    archive = Archive(await export.rest())
    gone = "the object store has no such object"
    assert archive.manifest["left_out"] == [
        {"path": f"recordings/{newer}/newest.opus", "reason": gone, "is_cut": True},
        {"path": f"recordings/{older}/older.opus", "reason": gone, "is_cut": False},
    ]
    cut = archive.zip.read(f"recordings/{newer}/newest.opus")
    assert len(cut) in (8 * 2**20, 16 * 2**20)
    assert content.startswith(cut)
    for recording_id in (older, newer):  # other tests look for rows whose objects are gone
        await operator.call("DELETE", f"/v1/recordings/{recording_id}", 204)


@pytest.mark.parametrize("kept", [0, 5, 8 * 2**20, 9 * 2**20])
async def test_an_object_that_is_shorter_than_its_upload_is_named(
    operator: Device, ports: Ports, tenant: Tenant, two: tuple[str, str, str], kept: int
) -> None:
    """Otherwise a damaged disk would make every export of this end user impossible."""
    person, older, newer = two
    key = f"SELECT object_key FROM media WHERE world_id = {tenant.test_world} AND recording_id = '{newer}'"
    async with ports.database.acquire() as connection:
        await ports.store.put(await connection.fetchval(key), LARGE[:kept])
    archive = Archive(await (await slow(ports, tenant, person)).rest())
    path, is_cut = f"recordings/{newer}/newer.opus", kept >= 8 * 2**20
    reason = "the object in the store is shorter than it was when it was uploaded"
    assert archive.manifest["left_out"] == [{"path": path, "reason": reason, "is_cut": is_cut}]
    if is_cut:
        assert archive.zip.read(path) == LARGE[: 8 * 2**20]
    assert archive.zip.read(f"recordings/{older}/older.opus") == LARGE
    await operator.call("DELETE", f"/v1/recordings/{newer}", 204)


async def test_the_deletion_of_the_end_user_breaks_it_off(
    operator: Device, ports: Ports, tenant: Tenant, two: tuple[str, str, str]
) -> None:
    export = await slow(ports, tenant, two[0])
    await export.until(f"recordings/{two[2]}/newer.opus".encode())
    await operator.call("DELETE", f"/v1/end-users/{two[0]}", 204)
    with pytest.raises(NotFound):
        await export.rest()
    _no_zip(bytes(export.made))


async def test_a_store_that_goes_away_breaks_it_off(
    operator: Device, ports: Ports, tenant: Tenant, two: tuple[str, str, str]
) -> None:
    store = Losing(ports.store, "", away=True)
    export = await slow(replace(ports, store=cast("ObjectStore", store)), tenant, two[0])
    with pytest.raises(Unavailable):
        await export.rest()
    assert b"newer.opus" in export.made
    _no_zip(bytes(export.made))


def _no_zip(made: bytes) -> None:
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(made))


class Losing:
    """The real store, which after the first range of an object has no object of this name, or is away."""

    def __init__(self, store: ObjectStore, key: str, *, away: bool = False) -> None:
        self._store, self._key, self._away = store, key, away

    async def pieces(self, key: str, size: int) -> AsyncGenerator[bytes]:
        """As of the real store, at first."""
        async for piece in self._store.pieces(key, size):
            yield piece
            if self._away:
                raise StoreUnavailable("away")
            if key == self._key:
                await self._store.delete(key)
