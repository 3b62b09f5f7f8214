"""`lapel doctor` about the endpoint that signed links name, and about whose reserve of the disk it shows."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import socket
from pathlib import Path

import pytest

from lapel.cli.doctor import checks
from lapel.cli.doctor.checks import Finding
from lapel.cli.doctor.doctor import _remote
from lapel.hosting.data_folder import DataFolder
from lapel.settings import Settings
from tests.support.patience import LONG, patience
from tests.support.running import settings_for


def settings_of(public: str | None, folder: Path) -> Settings:
    given = {
        "LAPEL_DATABASE_URL": "postgresql://lapel@db.example.com/lapel",
        "LAPEL_SECRET": "a-secret-of-good-length-for-tests",
        "LAPEL_S3_ENDPOINT": "http://127.0.0.1:1",
        "LAPEL_S3_ACCESS_KEY_ID": "key",
        "LAPEL_S3_SECRET_ACCESS_KEY": "secret",
    }
    return Settings.from_env(
        given | ({} if public is None else {"LAPEL_S3_PUBLIC_ENDPOINT": public}), data_dir=folder
    )


async def found(public: str | None, folder: Path) -> list[Finding]:
    async with patience(LONG):
        return [each async for each in checks.public_endpoint(settings_of(public, folder))]


async def found_with_answer(answer: bytes, folder: Path) -> Finding:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        (finding,) = await found(f"http://127.0.0.1:{port}", folder)
    return finding


async def test_a_store_that_refuses_a_call_without_signature_is_reached(tmp_path: Path) -> None:
    finding = await found_with_answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", tmp_path)
    assert (finding.part, finding.state, finding.remedy) == ("links", "ok", None)


async def test_a_proxy_without_its_store_is_a_warning(tmp_path: Path) -> None:
    finding = await found_with_answer(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", tmp_path)
    assert finding.state == "warning"
    assert "it answers 502" in finding.detail


async def test_an_endpoint_that_nobody_serves_is_a_warning(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    (finding,) = await found(url, tmp_path)
    assert finding.state == "warning"
    assert f"{url}, which is not reached from this machine: no connection to" in finding.detail
    assert "where they are" in (finding.remedy or "")


async def test_an_endpoint_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_LINK_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (finding,) = await found(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path)
    assert finding.state == "warning"
    assert "does not answer in time" in finding.detail


async def test_without_the_setting_nothing_is_said(tmp_path: Path) -> None:
    assert await found(None, tmp_path) == []


async def test_doctor_tells_of_it(tmp_path: Path, fresh_database: str) -> None:
    there = settings_for(tmp_path, fresh_database, 1)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    given = dataclasses.replace(
        there,
        embedded_store=False,
        s3_endpoint=url,
        s3_access_key_id="key",
        s3_secret_access_key="secret",
        s3_public_endpoint=url,
    )
    found = await _remote(given, is_served=False)
    assert [each.state for each in found if each.part == "links"] == ["warning"]


def disk_of(min_free: str, folder: Path) -> Finding:
    data = DataFolder(folder / "data")
    data.prepare()
    settings = Settings.from_env({"LAPEL_MIN_FREE_BYTES": min_free}, data_dir=data.path)
    (disk,) = [each for each in checks.local(settings) if each.part == "disk"]
    return disk


def test_the_reserve_is_said_to_be_that_of_this_command(tmp_path: Path) -> None:
    disk = disk_of("999999GiB", tmp_path)
    assert disk.state == "broken"
    assert "this command's LAPEL_MIN_FREE_BYTES, is 999999.0 GiB (a server with another value" in disk.detail
    assert "LAPEL_MIN_FREE_BYTES of the server" in (disk.remedy or "")


def test_a_share_of_the_disk_is_reserved_whatever_is_set(tmp_path: Path) -> None:
    share = shutil.disk_usage(tmp_path).total * 0.05
    assert f", is {share / 2**30:.1f} GiB (a server" in disk_of("1", tmp_path).detail
