"""A backup made of a running server, restored elsewhere, and a recording read back from it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest

from lapel.cli.backup.postgres_programs import dump_database
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.sample import speech
from lapel.settings import Settings
from tests.support.installation import Installation
from tests.support.plain_http import http
from tests.support.postgres import create_database
from tests.support.sealed_uploads import Json, creation, manifest_body, path_of, seal
from tests.support.serving import run, serving, told

SEALED = seal()


class Uploaded(NamedTuple):
    """A recording, with its bytes in the store."""

    recording: str
    media: str


class Backed(NamedTuple):
    """A stopped installation with a finished and an unfinished upload, and the backup made while it ran."""

    data: Path
    backup: Path
    key: str
    uploaded: Uploaded
    pending: str
    session: Json
    firmware: str


def upload_firmware(url: str, key: str) -> str:
    """A release of both kinds of file; gives its id."""
    answer = http.post(
        f"{url}/v1/firmware-releases",
        data={"version": "1.0", "model": "bota_pin"},
        files={"bin": ("a.bin", b"firmware"), "ufw": ("a.ufw", b"ware")},
        headers={"authorization": f"Bearer {key}"},
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def start_upload(url: str, key: str, content: bytes) -> Uploaded:
    """A recording whose bytes are in the store, but not completed."""
    auth = {"authorization": f"Bearer {key}"}
    end_user = http.post(f"{url}/v1/end-users", json={}, headers=auth).json()["id"]
    recording = http.post(f"{url}/v1/recordings", json={"end_user_id": end_user}, headers=auth).json()["id"]
    asked = {"content_type": "audio/opus", "file_size_bytes": len(content)}
    upload = http.post(f"{url}/v1/recordings/{recording}/upload-url", json=asked, headers=auth).json()
    sent = http.put(upload["upload_url"], content=content, headers=upload["headers"])
    assert sent.status_code == 200, sent.text
    return Uploaded(recording, upload["media_id"])


def complete_upload(url: str, key: str, recording: str) -> None:
    answer = http.post(
        f"{url}/v1/recordings/{recording}/upload-complete",
        json={},
        headers={"authorization": f"Bearer {key}"},
    )
    assert answer.json()["status"] == "uploaded", answer.text


def stage_sealed(url: str, key: str) -> Json:
    """The session of an encrypted upload whose object is in the store, but whose manifest was not sent."""
    auth = {"authorization": f"Bearer {key}"}

    def post(path: str, body: Json) -> Json:
        answer = http.post(f"{url}/v1{path}", json=body, headers=auth)
        assert answer.is_success, answer.text
        return answer.json()

    end_user = post("/end-users", {})["id"]
    device = post("/devices", {"serial_number": "SEALED01"})["id"]
    post(f"/devices/{device}/bind", {"end_user_id": end_user})
    recording = post("/recordings", {"end_user_id": end_user, "device_id": device})["id"]
    session = post(f"/recordings/{recording}/encrypted-upload-v2/sessions", creation(SEALED, device))
    staging = session["staging"]
    assert http.put(staging["url"], content=SEALED.content, headers=staging["headers"]).status_code == 200
    return session


@pytest.fixture(scope="module")
def backed(installation: Installation, module_folder: Path) -> Backed:
    folder = module_folder
    key = installation.copy(folder / "data")
    with serving(folder / "data") as server:
        uploaded = start_upload(server.url, key, speech().data)
        complete_upload(server.url, key, uploaded.recording)
        pending = start_upload(server.url, key, b"bytes").recording
        session = stage_sealed(server.url, key)
        firmware = upload_firmware(server.url, key)
        made = told("backup", folder / "copy", "--data-dir", folder / "data")
    assert made["objects"] == 5
    assert made["bytes"] == speech().size + 5 + 8 + 4 + len(SEALED.content)
    return Backed(folder / "data", folder / "copy", key, uploaded, pending, session, firmware)


def test_a_restored_installation_gives_the_recording_back(backed: Backed, tmp_path: Path) -> None:
    data = tmp_path / "restored"
    done = told("restore", backed.backup, "--data-dir", data)
    assert done["objects"] == 5
    with serving(data) as server:
        assert server.told["key"] is None  # its keys came back: no first one is made
        auth = {"authorization": f"Bearer {backed.key}"}
        where = f"{server.url}/v1/recordings/{backed.uploaded.recording}"
        recording = http.get(where, headers=auth).json()
        assert recording["status"] == "uploaded"
        asked = {"media_id": backed.uploaded.media}
        link = http.post(f"{where}/download-url", json=asked, headers=auth).json()["download_url"]
        answer = http.get(link)
        assert answer.headers["content-type"] == "audio/opus"
        assert hashlib.sha256(answer.content).hexdigest() == speech().sha256
        # The upload that was under way can be finished, too.
        complete_upload(server.url, backed.key, backed.pending)
        body = manifest_body(backed.session, SEALED.manifest(backed.session))
        sent = http.post(f"{server.url}{path_of(backed.session)}/manifest", json=body, headers=auth)
        assert sent.status_code == 202, sent.text
        for kind, content in (("bin", b"firmware"), ("ufw", b"ware")):
            where = f"{server.url}/v1/firmware-releases/{backed.firmware}/download-url?type={kind}"
            assert http.get(http.get(where, headers=auth).json()["download_url"]).content == content


def test_a_backup_is_for_its_owner_alone(backed: Backed) -> None:
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (backed.backup, *backed.backup.rglob("*"))}
    assert {path for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == set()
    assert sum(path.is_file() for path in modes) == 4 + 5  # manifest, dump, index and secret; and the objects


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_an_address_is_no_folder(backed: Backed, tmp_path: Path, command: str) -> None:
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        done = run(command, "s3://bucket/x", "--data-dir", backed.data)
    finally:
        os.chdir(here)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "lapel: s3://bucket/x is an address, but a backup is a folder on this machine."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_dump_is_told_with_the_reason(backed: Backed, tmp_path: Path) -> None:
    copy = copy_of(backed, tmp_path)
    dump = (copy / "database.dump").read_bytes()
    (copy / "database.dump").write_bytes(dump[: len(dump) // 2])
    done = run("restore", copy, "--data-dir", tmp_path / "new")
    assert done.returncode == 1
    assert "pg_restore failed: pg_restore: error: " in done.stderr


def test_a_backup_goes_into_an_empty_folder_only(backed: Backed) -> None:
    done = run("backup", backed.backup, "--data-dir", backed.data)
    assert done.returncode == 1
    assert "is not empty" in done.stderr


def test_a_restore_goes_into_an_empty_folder_only(backed: Backed) -> None:
    done = run("restore", backed.backup, "--data-dir", backed.data)
    assert done.returncode == 1
    assert "is not empty" in done.stderr


def copy_of(backed: Backed, tmp_path: Path) -> Path:
    shutil.copytree(backed.backup, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_backup_that_was_broken_off_is_refused(backed: Backed, tmp_path: Path) -> None:
    copy = copy_of(backed, tmp_path)
    (copy / "backup.json").unlink()
    done = run("restore", copy, "--data-dir", tmp_path / "new")
    assert done.returncode == 1
    assert "broken off" in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_damaged_object_stops_the_restore_and_the_half_is_not_served(
    backed: Backed, tmp_path: Path
) -> None:
    copy = copy_of(backed, tmp_path)
    victim = next(path for path in copy.rglob("*.opus"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"\0")
    done = run("restore", copy, "--data-dir", tmp_path / "new")
    assert done.returncode == 1
    assert "is damaged: its SHA-256" in done.stderr
    served = run("serve", "--data-dir", tmp_path / "new", "--port", "0")
    assert served.returncode == 1
    assert "was broken off" in served.stderr


def test_an_object_that_was_exchanged_stops_the_restore(backed: Backed, tmp_path: Path) -> None:
    """Also if its line in the index was changed with it: the database says what was promised."""
    copy = copy_of(backed, tmp_path)
    victim = next(path for path in copy.rglob("*.opus"))
    victim.write_bytes(b"something else")
    lines = [json.loads(line) for line in (copy / "objects.jsonl").read_text().splitlines()]
    for line in lines:
        if line["key"].endswith(".opus"):
            line |= {"size": 14, "sha256": hashlib.sha256(b"something else").hexdigest()}
    (copy / "objects.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run("restore", copy, "--data-dir", tmp_path / "new")
    assert done.returncode == 1
    assert "was changed: objects.jsonl lists" in done.stderr


def test_names_that_lead_out_of_the_backup_are_refused(backed: Backed, tmp_path: Path) -> None:
    copy = copy_of(backed, tmp_path)
    lines = [json.loads(line) for line in (copy / "objects.jsonl").read_text().splitlines()]
    lines[0]["key"] = "../../etc/passwd"
    (copy / "objects.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run("restore", copy, "--data-dir", tmp_path / "new")
    assert done.returncode == 1
    assert "tampered" in done.stderr


def test_a_backup_of_a_newer_schema_is_refused(backed: Backed, tmp_path: Path) -> None:
    copy = copy_of(backed, tmp_path)
    manifest = json.loads((copy / "backup.json").read_text())
    (copy / "backup.json").write_text(json.dumps(manifest | {"schema": "9999"}))
    done = run("restore", copy, "--data-dir", tmp_path / "new")
    assert done.returncode == 1
    assert "newer Lapel" in done.stderr


def test_a_promised_object_that_is_lost_turns_the_backup_red(backed: Backed, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(backed.data, data)
    lost = next((data / "objects").rglob("*.opus*"))
    lost.unlink()
    done = run("backup", tmp_path / "copy", "--data-dir", data)
    assert done.returncode == 1
    assert "promised are not in the store" in done.stderr
    assert not (tmp_path / "copy" / "backup.json").exists()


def test_the_dump_goes_past_a_pooler(fresh_database: str, tmp_path: Path) -> None:
    """pg_dump keeps state between its transactions, so it needs the direct URL as LISTEN does."""
    through = {"LAPEL_DATABASE_URL": "postgresql://u@127.0.0.1:1/pooler", "LAPEL_SECRET": "s" * 40}
    settings = Settings.from_env(through | {"LAPEL_LISTEN_DATABASE_URL": fresh_database})
    dump = tmp_path / "database.dump"

    async def write() -> None:
        connection = await asyncpg.connect(fresh_database)
        try:
            async with connection.transaction(isolation="repeatable_read"):
                snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
                await asyncio.to_thread(dump_database, settings, dump, snapshot)
        finally:
            await connection.close()

    asyncio.run(write())
    assert dump.stat().st_size > 0


def test_a_restore_into_a_store_without_keys_begins_nothing(backed: Backed, tmp_path: Path) -> None:
    env = {"LAPEL_S3_ENDPOINT": "http://127.0.0.1:1", "HOME": str(tmp_path)}
    env |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    done = run("restore", backed.backup, "--data-dir", tmp_path / "new", env=env)
    assert done.returncode == 1
    assert "LAPEL_S3_ENDPOINT is set without keys for it" in done.stderr
    assert not (tmp_path / "new").exists()


FORMER, PRESENT = "the-former-secret-of-the-installation", "the-present-secret-of-the-installation"


def make_tokens(url: str, key: str) -> tuple[str, str]:
    """A device's token and the device's id."""
    auth = {"authorization": f"Bearer {key}"}
    end_user = http.post(f"{url}/v1/end-users", json={}, headers=auth).json()["id"]
    body = {"serial_number": "SECRET01", "model": "bota_pin"}
    device = http.post(f"{url}/v1/devices", json=body, headers=auth).json()["id"]
    bound = http.post(f"{url}/v1/devices/{device}/bind", json={"end_user_id": end_user}, headers=auth)
    return bound.json()["device_token"], device


def secret_finding(*arguments: str | Path, env: dict[str, str] | None = None) -> dict[str, str | None]:
    findings = json.loads(run("doctor", "--json", *arguments, env=env).stdout)["findings"]
    return next(each for each in findings if each["part"] == "secret")


@pytest.mark.deep
def test_what_was_made_before_the_secret_was_changed_outlives_a_restore(tmp_path: Path) -> None:
    data, copy, restored = tmp_path / "data", tmp_path / "copy", tmp_path / "restored"
    place, env = ("--data-dir", data), {"LAPEL_SECRET": FORMER}
    with serving(data, env=env) as server:
        key = server.told["key"]
        token, device = make_tokens(server.url, key)
        told("providers", "set", "deepgram", "--key-env", "THE_KEY", *place, env=env | {"THE_KEY": "k3y1"})
        signing = told("signing-keys", "prepare", *place, env=env)
    changed = {"LAPEL_SECRET": PRESENT, "LAPEL_SECRET_PREVIOUS": FORMER}
    made = run("keys", "create", *place, env=changed)
    assert "Warning" not in made.stderr
    newer, made_id = (json.loads(made.stdout)[name] for name in ("key", "id"))

    # A command in an environment that lacks a secret says what will be dead.
    listed = run("keys", "list", *place, env={"LAPEL_SECRET": PRESENT})
    assert "not loaded: API keys (1), device tokens (1)" in listed.stderr
    unaware = run("backup", tmp_path / "unaware", *place, env={"LAPEL_SECRET": PRESENT})
    assert "API keys (1), device tokens (1)" in unaware.stderr
    assert "API keys" not in run("backup", copy, *place, env=changed).stderr

    done = told("restore", copy, "--data-dir", restored)
    assert done["secrets"] == ["secret", "secret_previous"]
    assert stat.S_IMODE((restored / "secret_previous").stat().st_mode) == 0o600
    with serving(restored) as server:
        for each in (key, newer):
            where = f"{server.url}/v1/devices/{device}"
            assert http.get(where, headers={"authorization": f"Bearer {each}"}).status_code == 200
        beat = http.post(
            f"{server.url}/v1/devices/me/heartbeat", json={}, headers={"authorization": f"Bearer {token}"}
        )
        assert beat.status_code == 200, beat.text
        slots = {each["slot"]: each for each in told("providers", "list", "--data-dir", restored)["data"]}
        assert slots["deepgram"]["key"] == "set"
        # The key that signs for devices is the same, and can sign.
        assert told("signing-keys", "list", "--data-dir", restored)["data"] == [signing]
        assert signing["readable"]

    # The server has kept what keys and tokens need of the previous secret.
    (restored / "secret_previous").unlink()
    finding = secret_finding("--data-dir", restored)
    assert (finding["state"], finding["remedy"]) == ("ok", None)
    for arguments in (("create",), ("rotate", made_id)):
        done = run("keys", *arguments, "--data-dir", restored)
        assert done.returncode == 0, done.stderr
        assert "not loaded" not in done.stderr
        assert json.loads(done.stdout)["key"].startswith("sk_test_")
    with serving(restored) as server:
        where = f"{server.url}/v1/devices/{device}"
        assert http.get(where, headers={"authorization": f"Bearer {newer}"}).status_code == 200
        beat = http.post(
            f"{server.url}/v1/devices/me/heartbeat", json={}, headers={"authorization": f"Bearer {token}"}
        )
        assert beat.status_code == 200, beat.text


def test_a_restore_into_a_given_database_asks_for_the_previous_secret(
    backed: Backed, tmp_path: Path, postgres: EmbeddedPostgres
) -> None:
    copy = copy_of(backed, tmp_path)
    (copy / "secret_previous").write_text(FORMER + "\n")
    env = {"LAPEL_SECRET": (copy / "secret").read_text().strip()}
    for name, previous, warned in (("without", "", True), ("with", FORMER, False)):
        url = create_database(postgres, f"previous_{name}")
        env |= {"LAPEL_DATABASE_URL": url, "LAPEL_SECRET_PREVIOUS": previous}
        done = run("restore", copy, "--data-dir", tmp_path / name, env=env)
        assert done.returncode == 0, done.stderr
        assert ("LAPEL_SECRET_PREVIOUS is not the previous secret of the backup" in done.stderr) is warned
