"""Releases: what arrives is what is offered, whatever is declared, repeated, cut off or hostile."""

from __future__ import annotations

import asyncio
import hashlib
import os
import zlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from lapel.foundation.ports import Ports
from tests.firmware.support import MODEL, Fleet
from tests.support.tenants import Tenant, bearer, make_key

MIB = 1 << 20
# More than one part of a multipart upload to the store.
LARGE = os.urandom(20 * MIB + 123)


async def test_what_arrives_is_counted_kept_and_shown(fleet: Fleet) -> None:
    ufw = os.urandom(3000)
    made = await fleet.upload(
        LARGE,
        ufw,
        version="2.0.0-rc.1",
        changelog="Better wörds",
        release_sequence="7",
        allow_downgrade="true",
    )
    assert made == {
        "id": made["id"],
        "version": "2.0.0-rc.1",
        "model": MODEL,
        "is_released": False,
        "changelog": "Better wörds",
        "bin_sha256": hashlib.sha256(LARGE).hexdigest(),
        "bin_file_size_bytes": len(LARGE),
        "bin_crc32": f"{zlib.crc32(LARGE):08x}",
        "ufw_sha256": hashlib.sha256(ufw).hexdigest(),
        "ufw_file_size_bytes": 3000,
        "release_sequence": 7,
        "allow_downgrade": True,
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
    }
    assert made["id"].startswith("fw_")
    assert await fleet.call("GET", f"/v1/firmware-releases/{made['id']}", 200) == made
    for kind, content in (("bin", LARGE), ("ufw", ufw)):
        link = await fleet.call("GET", f"/v1/firmware-releases/{made['id']}/download-url", 200, type=kind)
        assert (link["version"], link["file_size_bytes"]) == ("2.0.0-rc.1", len(content))
        assert link["sha256"] == hashlib.sha256(content).hexdigest()
        got = await fleet.client.get(link["download_url"], timeout=60)
        assert (got.status_code, got.content == content) == (200, True)
        assert got.headers["content-disposition"] == f'attachment; filename="bota_pin-2.0.0-rc.1.{kind}"'


async def test_without_a_file_of_its_own_the_ufw_is_the_bin(fleet: Fleet) -> None:
    made = await fleet.upload(b"x")
    assert (made["ufw_sha256"], made["ufw_file_size_bytes"]) == (made["bin_sha256"], 1)
    path = f"/v1/firmware-releases/{made['id']}/download-url"
    link = await fleet.call("GET", path, 200, type="ufw")
    assert (await fleet.client.get(link["download_url"])).content == b"x"
    assert (link["sha256"], link["file_size_bytes"]) == (made["bin_sha256"], 1)


async def test_sequence_and_downgrade_are_there_together_or_not_at_all(fleet: Fleet) -> None:
    plain = await fleet.upload(b"x", allow_downgrade="true")
    numbered = await fleet.upload(b"x", release_sequence="1")
    assert not {"release_sequence", "allow_downgrade"} & set(plain)
    assert (numbered["release_sequence"], numbered["allow_downgrade"]) == (1, False)
    await fleet.upload(b"x", release_sequence="0", expect=400)
    shown = {
        "id", "version", "model", "is_released", "changelog", "bin_sha256", "bin_file_size_bytes",
        "bin_crc32", "ufw_sha256", "ufw_file_size_bytes", "created_at", "updated_at",
    }  # fmt: skip
    assert set(plain) == shown
    assert set(numbered) == shown | {"release_sequence", "allow_downgrade"}
    assert plain["changelog"] == ""


async def test_a_sequence_of_0_that_an_older_version_stored_is_left_out(fleet: Fleet) -> None:
    release = await fleet.released(release_sequence="1")
    async with fleet.ports.database.acquire() as connection:
        await connection.execute(
            "UPDATE firmware_releases SET release_sequence = 0 WHERE world_id = $1 AND id = $2",
            fleet.tenant.test_world,
            release["id"],
        )
    device = await fleet.device()
    await fleet.assign(device, release["id"])
    listed = await fleet.call("GET", "/v1/firmware-releases", 200)
    for shown in (
        await fleet.call("GET", f"/v1/firmware-releases/{release['id']}", 200),
        *listed["data"],
        await fleet.heartbeat(device),
    ):
        assert shown is not None
        assert not {"release_sequence", "allow_downgrade"} & set(shown)


async def test_the_longest_changelog_is_counted_in_utf_16_units(fleet: Fleet) -> None:
    changelog = "\N{SATELLITE ANTENNA}" * 10_000
    assert (await fleet.upload(changelog=changelog))["changelog"] == changelog
    refused = await fleet.upload(changelog=f"{changelog}.", expect=400)
    assert refused["error"]["param"] == "changelog"


async def test_releasing_is_once_and_for_good(fleet: Fleet) -> None:
    made = await fleet.upload()
    path = f"/v1/firmware-releases/{made['id']}/release"
    released = await fleet.call("POST", path, 200)
    assert released == {**made, "is_released": True, "updated_at": released["updated_at"]}
    assert await fleet.call("POST", path, 200) == released


async def test_a_device_sees_what_is_released_for_its_model(fleet: Fleet) -> None:
    device = await fleet.device()
    first, second = await fleet.released(), await fleet.released()
    await fleet.upload()
    await fleet.released(model="bota_note")
    seen = await fleet.call("GET", "/v1/firmware-releases", 200, device_id=device)
    assert seen == {"data": [second, first]}
    everything = await fleet.call("GET", "/v1/firmware-releases", 200)
    assert len(everything["data"]) == 4
    assert await fleet.call("GET", "/v1/firmware-releases", 200, device_id=device, limit="1") == {
        "data": [second]
    }
    page = await fleet.call("GET", "/v1/firmware-releases", 200, limit="3")
    assert (len(page["data"]), page["has_more"]) == (3, True)
    rest = await fleet.call("GET", "/v1/firmware-releases", 200, cursor=page["next_cursor"])
    assert page["data"] + rest["data"] == everything["data"]
    await fleet.call("GET", "/v1/firmware-releases", 404, device_id="dev_unknown")


async def test_a_device_sees_a_hundred_releases_at_most(fleet: Fleet) -> None:
    device, made = await fleet.device(), await fleet.released()
    async with fleet.ports.database.acquire() as connection:
        columns: str = await connection.fetchval(
            "SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name = 'firmware_releases'"
            " AND column_name NOT IN ('id', 'version', 'bin_object_key')"
        )
        await connection.execute(
            f"INSERT INTO firmware_releases (id, version, bin_object_key, {columns})"
            f" SELECT 'fw_' || lpad(n::text, 24, '0'), '0.' || n, bin_object_key || n, {columns}"
            " FROM firmware_releases, generate_series(1, 100) n WHERE world_id = $1 AND id = $2",
            fleet.tenant.test_world,
            made["id"],
        )
    seen = await fleet.call("GET", "/v1/firmware-releases", 200, device_id=device)
    assert (set(seen), len(seen["data"])) == ({"data"}, 100)
    # All releases of the world are a list like any other.
    listed = await fleet.call("GET", "/v1/firmware-releases", 200)
    assert (len(listed["data"]), listed["has_more"]) == (20, True)
    await fleet.call("GET", "/v1/firmware-releases", 400, device_id=device, limit="101")


@pytest.mark.parametrize("version", ["1", "A.b_c+d-e", "9" * 32])
async def test_a_version_has_1_to_32_letters_digits_and_signs(fleet: Fleet, version: str) -> None:
    assert (await fleet.upload(version=version))["version"] == version


async def test_a_file_has_a_byte_to_64_mib(fleet: Fleet) -> None:
    assert (await fleet.upload(bytes(64 * MIB)))["bin_file_size_bytes"] == 64 * MIB
    refused = await fleet.upload(bytes(64 * MIB + 1), expect=413)
    assert refused["error"]["code"] == "payload_too_large"
    assert len(await fleet.objects()) == 1


async def test_a_model_has_a_version_once(fleet: Fleet) -> None:
    made = await fleet.upload(b"one", version="1.0")
    refused = await fleet.upload(b"another", version="1.0", expect=409)
    assert (refused["error"]["code"], refused["error"]["resource_id"]) == (
        "resource_already_exists",
        made["id"],
    )
    await fleet.upload(b"another", version="1.0", model="bota_note")
    assert len(await fleet.objects()) == 2


async def test_of_uploads_at_once_one_is_the_release(fleet: Fleet) -> None:
    async def upload(number: int) -> int:
        answer = await fleet.client.post(
            "/v1/firmware-releases",
            data={"model": MODEL, "version": "race"},
            files={"bin": ("a.bin", bytes([number]) * 100_000)},
            headers=fleet.tenant.headers,
        )
        return answer.status_code

    statuses = await asyncio.gather(*(upload(number) for number in range(6)))
    assert statuses.count(201) == 1
    assert set(statuses) <= {201, 409, 503}  # only so many at once
    assert len(await fleet.objects()) == 1


async def test_declared_facts_are_compared(fleet: Fleet) -> None:
    content, right = b"abc", hashlib.sha256(b"abc").hexdigest()
    await fleet.upload(content, bin_sha256=right, bin_file_size_bytes="3")
    refused = await fleet.upload(content, expect=400, bin_sha256="0" * 64)
    assert refused["error"]["param"] == "bin_sha256"
    refused = await fleet.upload(content, expect=400, bin_file_size_bytes="4")
    assert refused["error"]["param"] == "bin_file_size_bytes"
    assert len(await fleet.objects()) == 1


Form = tuple[dict[str, str], dict[str, tuple[str, bytes]]]
GOOD = {"model": MODEL, "version": "1.0"}


@pytest.mark.parametrize(
    ("fields", "files", "param"),
    [
        (GOOD, {"bin": ("a.bin", b"")}, "bin"),
        (GOOD, {"bin": ("a.bin", b"x"), "ufw": ("a.ufw", b"")}, "ufw"),
        (GOOD, {"ufw": ("a.ufw", b"x")}, "bin"),
        (GOOD, {"bin": ("a.exe", b"x")}, "bin"),
        (GOOD, {"bin": ("a.bin", b"x"), "ufw": ("a.bin", b"x")}, "ufw"),
        ({"version": "1.0"}, {"bin": ("a.bin", b"x")}, "model"),
        ({"model": MODEL}, {"bin": ("a.bin", b"x")}, "version"),
        ({**GOOD, "model": "Bota Pin"}, {"bin": ("a.bin", b"x")}, "model"),
        ({**GOOD, "version": "1/0"}, {"bin": ("a.bin", b"x")}, "version"),
        ({**GOOD, "version": "1" * 33}, {"bin": ("a.bin", b"x")}, "version"),
        ({**GOOD, "version": ".1"}, {"bin": ("a.bin", b"x")}, "version"),
        ({**GOOD, "version": "1.0\n"}, {"bin": ("a.bin", b"x")}, "version"),
        ({**GOOD, "version": ""}, {"bin": ("a.bin", b"x")}, "version"),
        ({**GOOD, "release_sequence": "-1"}, {"bin": ("a.bin", b"x")}, "release_sequence"),
        ({**GOOD, "release_sequence": ""}, {"bin": ("a.bin", b"x")}, "release_sequence"),
        ({**GOOD, "release_sequence": str(2**53)}, {"bin": ("a.bin", b"x")}, "release_sequence"),
        ({**GOOD, "allow_downgrade": "maybe"}, {"bin": ("a.bin", b"x")}, "allow_downgrade"),
        ({**GOOD, "changelog": "a\0b"}, {"bin": ("a.bin", b"x")}, "changelog"),
        ({**GOOD, "changelog": "x" * 20_001}, {"bin": ("a.bin", b"x")}, "changelog"),
        ({**GOOD, "bin_sha256": "abc"}, {"bin": ("a.bin", b"x")}, "bin_sha256"),
    ],
)
async def test_bad_forms_are_refused_and_leave_nothing(
    fleet: Fleet, fields: dict[str, str], files: dict[str, tuple[str, bytes]], param: str
) -> None:
    answer = await fleet.client.post(
        "/v1/firmware-releases", data=fields, files=files, headers=fleet.tenant.headers
    )
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert await fleet.objects() == []
    assert (await fleet.call("GET", "/v1/firmware-releases", 200))["data"] == []


async def test_only_forms_are_taken(fleet: Fleet) -> None:
    def send(content: bytes, content_type: str) -> Any:
        return fleet.client.post(
            "/v1/firmware-releases",
            content=content,
            headers={**fleet.tenant.headers, "Content-Type": content_type},
        )

    assert (await send(b"{}", "application/json")).status_code == 415
    assert (await send(b"x" * 1000, "application/octet-stream")).status_code == 415
    assert (await send(b"", "multipart/form-data")).status_code == 400
    assert (await send(b"--x\r\n", "multipart/form-data; boundary=x")).status_code == 400
    part = b'--x\r\nContent-Disposition: form-data; name="bin"; filename="a.bin"\r\n\r\nabc'
    for truncated in (part, part + b"\r\n--x", part + b"\r\n--x\r\n"):
        assert (await send(truncated, "multipart/form-data; boundary=x")).status_code == 400
    assert await fleet.objects() == []


async def test_two_gigabytes_are_refused_before_they_are_read(fleet: Fleet) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 2 << 30:
            sent += MIB
            yield bytes(MIB)

    headers = {
        **fleet.tenant.headers,
        "Content-Type": "multipart/form-data; boundary=x",
        "Content-Length": str(2 << 30),
    }
    answer = None
    try:
        answer = await fleet.client.post("/v1/firmware-releases", content=endless(), headers=headers)
    except httpx.WriteError:  # the answer came, and the connection went, while it was still sending
        assert sent < 1 << 30
    if answer is not None:
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")
    assert await fleet.objects() == []


async def test_other_callers_may_not(
    fleet: Fleet, stranger: Tenant, ports: Ports, client: httpx.AsyncClient
) -> None:
    made = await fleet.upload()
    path = f"/v1/firmware-releases/{made['id']}"
    assert (await client.get(path, headers=stranger.headers)).status_code == 404
    assert (await client.get(path, headers=fleet.tenant.live_headers)).status_code == 404
    assert (await client.post(f"{path}/release", headers=stranger.headers)).status_code == 404
    reader = bearer(await make_key(ports, fleet.tenant.test_world, "rk_test", scopes=("devices:read",)))
    assert (await client.get(path, headers=reader)).status_code == 200
    files = {"bin": ("a.bin", b"x")}
    refused = await client.post("/v1/firmware-releases", data=GOOD, files=files, headers=reader)
    assert refused.status_code == 403
    refused = await client.post("/v1/firmware-releases", data=GOOD, files=files)
    assert refused.status_code == 401


async def test_links_end(fleet: Fleet) -> None:
    made = await fleet.upload()
    link = await fleet.call("GET", f"/v1/firmware-releases/{made['id']}/download-url", 200)
    assert set(link) == {"download_url", "version", "sha256", "file_size_bytes", "expires_at"}
    left = datetime.fromisoformat(link["expires_at"]) - fleet.ports.clock.now()
    assert timedelta(minutes=50) < left <= timedelta(hours=1)
    await fleet.call("GET", f"/v1/firmware-releases/{made['id']}/download-url", 400, type="exe")
    assert "X-Amz-Expires=3600" in link["download_url"]
