"""The commands as a person calls them, on a stopped installation; what they say when they cannot work."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database.schema.schema_version import newest_revision
from lapel.slices.projects.scopes import SCOPES
from tests.support.postgres import create_database
from tests.support.serving import LAPEL, ended, run, serving, told, with_key
from tests.support.warm import Warm

SECRET = "a-secret-for-tests-that-is-long-enough"


@pytest.fixture(scope="module")
def data(module_folder: Path) -> Path:
    """An installation that `lapel init` made and nobody serves."""
    folder = module_folder / "data"
    made = told("init", "--data-dir", folder)
    assert with_key(made)["key"].startswith("sk_test_")
    assert made["schema"] == newest_revision()
    assert (made["bucket"], made["cors"]) == ("lapel", "built in")
    return folder


def test_init_may_be_repeated_and_shows_a_key_once(data: Path) -> None:
    again = told("init", "--data-dir", data)
    assert (again["key"], again["key_file"]) == (None, None)
    assert again["bucket_made"] is False


def test_keys_live_their_life_while_the_server_is_stopped(data: Path) -> None:
    place = ("--data-dir", data)
    flags = (
        "--mode",
        "live",
        "--scopes",
        "recordings:read, devices:write",
        "--expires",
        "90d",
        "--name",
        "ci",
    )
    made = told("keys", "create", *flags, *place)
    assert made["key"].startswith("rk_live_")
    assert made["scopes"] == ["recordings:read", "devices:write"]
    assert made["expires_at"].endswith("Z")
    rotated = told("keys", "rotate", made["id"], "--overlap", "1h", *place)
    assert rotated["replaced_id"] == made["id"]
    assert rotated["key"] != made["key"]
    told("keys", "revoke", made["id"], "--issued", *place)
    listed = {key["id"]: key for key in told("keys", "list", "--project", made["project_id"], *place)["data"]}
    assert listed[made["id"]]["revoked_at"] is not None
    assert listed[rotated["id"]]["revoked_at"] is None
    shown = run("keys", "list", *place).stdout
    assert rotated["id"] in shown
    assert rotated["key"] not in shown


def test_a_secret_key_has_every_scope(data: Path) -> None:
    made = told("keys", "create", "--data-dir", data)
    assert made["key"].startswith("sk_test_")
    assert made["scopes"] == list(SCOPES)


def test_a_new_key_is_json_for_the_next_program(data: Path) -> None:
    done = run("keys", "create", "--data-dir", data, cold=True)  # into a pipe, without --json
    assert set(json.loads(done.stdout)) == {"key", "id", "project_id", "mode", "scopes"}


def test_projects_are_made_and_listed_and_must_then_be_named(data: Path, tmp_path: Path) -> None:
    place = ("--data-dir", shutil.copytree(data, tmp_path / "data"))
    (given,) = told("projects", "list", *place)["data"]
    first = told("projects", "create", "Acme wearables", *place)
    second = told("projects", "create", "Other", *place)
    listed = told("projects", "list", *place)["data"]
    assert [each["id"] for each in listed] == [given["id"], first["id"], second["id"]]
    refused = run("keys", "create", *place)
    assert refused.returncode == 1
    assert first["id"] in refused.stderr
    assert told("keys", "create", "--project", second["id"], *place)["project_id"] == second["id"]


def test_a_name_commands_no_terminal_and_forges_no_row(data: Path) -> None:
    place = ("--data-dir", data)
    name = "\x1b[2J\x1b]0;mine\x07\r\x9b1m\u202etxt.\u2066\u2028\nkey_forged  Bücher 録音"
    made = told("keys", "create", "--name", name, *place)
    lines = run("keys", "list", *place).stdout.split("\n")
    (line,) = [each for each in lines if each.startswith(made["id"])]
    assert line.endswith(r"  \x1b[2J\x1b]0;mine\x07\r\x9b1m\u202etxt.\u2066\u2028\nkey_forged  Bücher 録音")


def test_an_organization_is_configured_shown_and_cleared(data: Path) -> None:
    place = ("--data-dir", data)
    fields = (
        "power_management.wifi_idle_timeout_seconds=5",
        "power_management.cellular_idle_timeout_seconds=-1",
        'upload_network_preference=["cellular","wifi","ble"]',
        "enabled_connections.wifi=false",
    )
    made = told("config", "set", "connection", *fields, *place)
    value = made["value"]
    assert made["source"] == "organization"
    assert value["power_management"] == {
        "wifi_idle_timeout_seconds": 10,
        "cellular_idle_timeout_seconds": -1,
    }
    assert value["upload_network_preference"] == ["cellular", "wifi", "ble"]
    assert value["enabled_connections"] == {"wifi": False, "cellular": True}
    assert told("config", "show", "connection", *place) == made
    everything = told("config", "show", *place)["data"]
    assert everything["connection"] == made
    assert everything["ota"]["source"] == "default"
    assert told("config", "show", "connection", "--mode", "live", *place)["source"] == "default"
    told("config", "set", "connection", "enabled_connections.wifi=null", *place)
    shown = run("config", "show", "connection", *place).stdout
    assert "connection  (organization)" in shown
    assert "  enabled_connections.wifi = true" in shown
    assert "  power_management.wifi_idle_timeout_seconds = 10" in shown
    assert "warning" not in shown
    shown = run("config", "set", "upload", "streaming_chunk_kb=64", *place).stdout
    assert "  warning: `upload.streaming_chunk_kb` is stored and shown. No effect yet" in shown
    security = told("config", "set", "upload_security", "encrypted_upload_policy=v2_required", *place)
    assert security["value"] == {"encrypted_upload_policy": "v2_required"}
    assert told("config", "clear", "connection", *place)["source"] == "default"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("config", "set", "upload", "streaming_chunk_kb=1"), "`streaming_chunk_kb` must be 64 to 1024."),
        (
            ("config", "set", "upload", "nobody_knows=1"),
            "; the fields at this place are: `streaming_enabled`, ",
        ),
        (
            ("config", "set", "upload", "off_peak_hours.from=1"),
            "are: `off_peak_hours.enabled`, `off_peak_hours.s",
        ),
        (("config", "set", "uploads", "x=1"), "The sections are: connection,"),
        (("config", "set", "upload"), "name at least one FIELD=VALUE"),
        (("config", "set", "upload", "streaming_chunk_kb"), "is not FIELD=VALUE"),
        (("config", "set", "upload", f"streaming_chunk_kb={'[' * 50_000}"), "must be a whole number"),
        (("config", "set", "upload", "off_peak_hours=null", "off_peak_hours.end=null"), "already sets"),
        (("config", "show", "uploads"), "The sections are: connection,"),
        (("config", "clear", "upload", "--organization", "org_none"), "`lapel projects list` shows"),
        (("projects", "create", "Ours", "--organization", "org_none"), "`lapel projects list` shows them."),
        (("keys", "create", "--end-user", "eu_none"), "--end-user makes a restricted key: name its --scopes"),
        (("keys", "create", "--scopes", "recording:read"), "There is no scope 'recording:read'"),
        (("keys", "create", "--expires", "soon"), "write it as 90d or 2027-01-31T12:00:00Z"),
        (("keys", "create", "--expires", "2027-01-31T12:00:00"), "has no time zone"),
        (("keys", "create", "--expires", "9999-12-31T23:59:59-14:00"), "-14:00' is not within the years 1"),
        (("keys", "create", "--project", "proj_none"), "`lapel projects list` shows them."),
        (("keys", "list", "--project", "proj_none"), "`lapel projects list` shows them."),
        (("keys", "revoke", "key_none"), "There is no key with this id. `lapel keys list` shows them."),
        (("keys", "rotate", "key_none"), "There is no key with this id. `lapel keys list` shows them."),
        (("keys", "rotate", "key_none", "--overlap", "long"), "is not a duration"),
        (("backup", "/proc/none"), "lapel: /proc/none: No such file or directory."),
        (("backup", "/dev/null/none"), "lapel: /dev/null/none: Not a directory."),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(
    data: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = run(*arguments, "--data-dir", data)
    assert done.returncode == 1
    assert done.stdout == ""
    assert words in done.stderr
    assert done.stderr.startswith("lapel: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (("projects", "create", ""), "the argument after `create` is empty; give one."),
        (
            ("keys", "create", "--scopes", ""),
            "--scopes: the value is empty; give one, or leave the flag out.",
        ),
        (("keys", "create", "--scopes="), "--scopes: the value is empty; give one, or leave the flag out."),
    ],
)
def test_a_variable_that_was_not_set_is_named_by_its_place(arguments: tuple[str, ...], where: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (2, f"lapel: {where}\n")


def test_a_bad_setting_is_one_line_too() -> None:
    done = run("projects", "list", env={"LAPEL_PORT": "eighty"})
    assert done.returncode == 1
    assert done.stderr == "lapel: LAPEL_PORT = 'eighty' is not a whole number; give one from 0 to 65535.\n"


def test_commands_wait_for_each_other(data: Path) -> None:
    """Two at once: the second finds the folder taken and no server, waits, and works."""
    command = ["projects", "list", "--json", "--data-dir", str(data)]
    with (data / "lapel.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with Warm(*command, env=os.environ) as second:
            assert second.stderr is not None
            assert "waiting for another lapel" in second.stderr.readline()
            fcntl.flock(lock, fcntl.LOCK_UN)
            listed, _ = second.communicate(timeout=60)
            assert second.returncode == 0
    assert len(json.loads(listed)["data"]) == 1


def test_a_folder_of_a_newer_lapel_is_refused(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "newer"
    folder.mkdir()
    version = json.loads((data / "VERSION").read_text())
    for change, words in (({"schema": "9999"}, "newer Lapel"), ({"postgres": 17}, "lapel backup")):
        (folder / "VERSION").write_text(json.dumps(version | change))
        for command in (("serve", "--port", "0"), ("projects", "list"), ("migrate",)):
            done = run(*command, "--data-dir", folder)
            assert done.returncode == 1
            assert words in done.stderr


def test_an_older_schema_is_refused_with_the_command_that_mends_it(data: Path) -> None:
    version = data / "VERSION"
    current = version.read_text()
    version.write_text(json.dumps(json.loads(current) | {"schema": "0001"}))
    done = run("keys", "create", "--data-dir", data)
    assert done.returncode == 1
    assert f"Run `lapel migrate --data-dir {data}`" in done.stderr
    assert told("migrate", "--data-dir", data) == {"schema": newest_revision()}
    assert json.loads(version.read_text()) == json.loads(current)


def test_a_running_server_of_an_older_lapel_is_not_touched_before_migrate(data: Path) -> None:
    with serving(data):
        version = data / "VERSION"
        current = version.read_text()
        version.write_text(json.dumps(json.loads(current) | {"schema": "0001"}))
        done = run("keys", "create", "--data-dir", data)
        assert done.returncode == 1
        assert "has an older schema" in done.stderr
        told("migrate", "--data-dir", data)
        assert json.loads(version.read_text()) == json.loads(current)
        told("keys", "create", "--data-dir", data)


def test_a_lost_secret_is_not_replaced_by_a_new_one(data: Path) -> None:
    secret = data / "secret"
    kept = secret.read_text()
    secret.unlink()
    try:
        done = run("keys", "create", "--data-dir", data)
        assert done.returncode == 1
        assert "Put it back from a backup" in done.stderr
        assert not secret.exists()
    finally:
        secret.write_text(kept)


@pytest.fixture
def given(postgres: EmbeddedPostgres, tmp_path: Path) -> dict[str, str]:
    """The environment of an installation on a given PostgreSQL, without a schema yet."""
    url = create_database(postgres, f"given_{tmp_path.name}"[:60])
    return {"LAPEL_DATABASE_URL": url, "LAPEL_SECRET": SECRET, "LAPEL_DATA_DIR": str(tmp_path / "data")}


@pytest.mark.deep
def test_a_given_database_is_served_only_after_migrate(given: dict[str, str], tmp_path: Path) -> None:
    refused = run("serve", "--port", "0", env=given)
    assert refused.returncode == 1
    assert "Run `lapel init` once" in refused.stderr
    assert told("migrate", env=given) == {"schema": newest_revision()}
    with serving(tmp_path / "data", env=given) as server:
        assert server.pids("postgres") == []
        assert told("keys", "create", env=given)["key"].startswith("sk_test_")
        found = {each["part"]: each for each in report(env=given)["findings"]}
        assert [found[part]["state"] for part in ("server", "worker", "store")] == ["ok"] * 3
        # The tests' own PostgreSQL is fast because it forgets: doctor must not call that healthy.
        assert "fsync" in found["database"]["detail"]


def test_a_given_database_that_is_away_is_named(tmp_path: Path) -> None:
    env = {"LAPEL_DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/db", "LAPEL_SECRET": SECRET}
    done = run("serve", "--port", "0", "--data-dir", tmp_path, env=env)
    assert done.returncode == 1
    assert "The database of LAPEL_DATABASE_URL cannot be reached" in done.stderr
    assert "hunter2" not in done.stderr


def report(*arguments: str | Path, env: dict[str, str] | None = None) -> Any:
    return json.loads(run("doctor", "--json", *arguments, env=env).stdout)


def test_doctor_finds_a_whole_installation_healthy(data: Path) -> None:
    done = run("doctor", "--data-dir", data)
    assert done.returncode == 0, done.stdout
    for part in ("settings", "postgresql", "data folder", "disk", "database", "store", "jobs"):
        assert f"✓ {part}" in done.stdout


def broken(*arguments: str | Path, env: dict[str, str] | None = None) -> dict[str, dict[str, str]]:
    found = report(*arguments, env=env)
    assert found["healthy"] is False
    return {each["part"]: each for each in found["findings"] if each["state"] == "broken"}


@pytest.mark.deep
def test_doctor_names_what_is_broken_and_how_to_mend_it(data: Path, tmp_path: Path) -> None:
    place = ("--data-dir", data)
    assert "LAPEL_PORT" in broken(*place, env={"LAPEL_PORT": "x"})["settings"]["detail"]
    full = broken(*place, env={"LAPEL_MIN_FREE_BYTES": "1000000GiB"})
    assert "LAPEL_MIN_FREE_BYTES" in full["disk"]["remedy"]
    away = {"LAPEL_DATABASE_URL": "postgresql://u@127.0.0.1:1/db", "LAPEL_SECRET": SECRET}
    unreached = broken(*place, env=away)["database"]
    assert "The database of LAPEL_DATABASE_URL cannot be reached" in unreached["detail"]
    assert "postgres.log" not in json.dumps(unreached)
    certificate = tmp_path / "c.pem"
    certificate.write_text("no certificate")
    env = {"LAPEL_TLS_CERT": str(certificate), "LAPEL_TLS_KEY": str(certificate)}
    assert "PEM" in broken(*place, env=env)["certificate"]["detail"]


@pytest.mark.deep
def test_doctor_reports_a_data_folder_that_cannot_be_one(tmp_path: Path) -> None:
    """The other findings are there, too; and nothing that was never made is to come from a backup."""
    file, nowhere, damaged = tmp_path / "file", tmp_path / "link", tmp_path / "damaged"
    file.touch()
    nowhere.symlink_to("nowhere")
    damaged.mkdir(0o700)
    (damaged / "VERSION").write_text("no JSON")
    for place, in_the_way in ((file, file), (file / "below" / "it", file), (nowhere, nowhere)):
        found = broken("--data-dir", place)
        assert set(found) == {"data folder"}
        assert found["data folder"]["detail"] == f"{place} cannot be made: {in_the_way} is no folder"
        assert "--data-dir" in found["data folder"]["remedy"]
    assert f"{damaged / 'VERSION'} cannot be read" in broken("--data-dir", damaged)["data folder"]["detail"]


def test_doctor_tells_of_a_store_that_refuses_us(data: Path) -> None:
    env = {
        "LAPEL_S3_ENDPOINT": "http://127.0.0.1:1",
        "LAPEL_S3_ACCESS_KEY_ID": "someone",
        "LAPEL_S3_SECRET_ACCESS_KEY": "something",
    }
    assert "LAPEL_S3_" in broken("--data-dir", data, env=env)["store"]["remedy"]


def test_doctor_warns_of_misspelt_settings_and_open_folders(data: Path) -> None:
    data.chmod(0o755)
    try:
        found = report("--data-dir", data, env={"LAPEL_DATABSE_URL": "x"})
    finally:
        data.chmod(0o700)
    warnings = {each["part"]: each for each in found["findings"] if each["state"] == "warning"}
    assert "LAPEL_DATABSE_URL" in warnings["settings"]["detail"]
    assert warnings["data folder"]["detail"] == f"other users can enter {data} (mode 755)"
    assert warnings["data folder"]["remedy"] == f"chmod 700 {data}"
    assert found["healthy"] is True


def test_ctrl_c_in_a_command_is_quiet(data: Path) -> None:
    with (data / "lapel.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [*LAPEL, "projects", "list", "--data-dir", str(data)]
        waiting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        with waiting:
            assert waiting.stderr is not None
            assert "waiting" in waiting.stderr.readline()
            time.sleep(0.1)
            os.kill(waiting.pid, 2)
            assert ended(waiting) == 130
            assert waiting.stderr.read() == ""
