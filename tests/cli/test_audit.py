"""The audit log by its commands: what commands write into it, `verify` and `export`, and a real restore."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.identity import signing
from lapel.slices.audit.chain.checkpoints import CheckpointClaims
from tests.audit.support import refuses_changes
from tests.support.plain_http import http
from tests.support.postgres import create_database, drop_database
from tests.support.serving import LAPEL, run, serving, told


class Installation(NamedTuple):
    """A stopped installation; its backup, which was made while it ran; of a later deletion, the ledger, and
    the checkpoints over it."""

    data: Path
    backup: Path
    ledger: Path
    project: str
    person: str
    recording: str
    deleted: tuple[str, str]
    checkpoints: Path


@pytest.fixture(scope="module")
def installed(module_folder: Path) -> Installation:
    data, copy, ledger = (module_folder / name for name in ("data", "copy", "erased.ndjson"))
    with serving(data) as server:
        auth = {"authorization": f"Bearer {server.told['key']}"}

        def post(path: str, **body: str) -> str:
            answer = http.post(f"{server.url}/v1/{path}", json=body, headers=auth)
            assert answer.status_code == 201, answer.text
            return answer.json()["id"]

        person, other = post("end-users", name="Jane"), post("end-users", name="Paul")
        recording = post("recordings", end_user_id=person)
        told("backup", copy, "--data-dir", data)
        for path in (f"end-users/{other}", f"recordings/{recording}"):
            assert http.delete(f"{server.url}/v1/{path}", headers=auth).status_code == 204
        told("erase", "--export", ledger, "--data-dir", data)
        project = told("projects", "list", "--data-dir", data)["data"][0]["id"]
        told("audit", "verify", "--data-dir", data)  # signs the first checkpoints
        url = server.run_file["database_url"]
        tokens = asyncio.run(query(url, "SELECT token FROM audit_checkpoints"))
    checkpoints = module_folder / "worker.log"
    checkpoints.write_text("".join(f"audit.checkpoint token={row['token']}\n" for row in tokens))
    return Installation(data, copy, ledger, project, person, recording, (other, recording), checkpoints)


OF_OPERATOR = """
SELECT action, resource_id FROM audit_log
WHERE actor_kind = 'operator' AND actor_id IS NULL AND request_id IS NULL AND NOT id = ANY($1::text[])
"""


async def query(url: str, statement: str, *values: object) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement, *values)
    finally:
        await connection.close()


class Log:
    """The audit log of an installation, and the commands on it."""

    def __init__(self, url: str, *place: str | Path, env: dict[str, str]) -> None:
        self.url = url
        self.place = place
        self.env = env
        self.seen = self.ids()

    def told(self, *arguments: str | Path, **env: str) -> Any:
        return told(*arguments, *self.place, env=self.env | env)

    def entries(self) -> list[dict[str, Any]]:
        """All entries, as `lapel audit export` writes them."""
        found: list[dict[str, Any]] = []
        for mode in ("live", "test"):
            done = run("audit", "export", "-", "--mode", mode, *self.place, env=self.env)
            assert (done.returncode, done.stderr) == (0, "")
            found += [json.loads(line) for line in done.stdout.splitlines()]
        return found

    def ids(self) -> list[str]:
        return [row["id"] for row in asyncio.run(query(self.url, "SELECT id FROM audit_log"))]

    def new(self) -> list[tuple[str, str]]:
        """Action and resource of each entry since the last call; all of them are the operator's."""
        rows = asyncio.run(query(self.url, OF_OPERATOR, self.seen))
        before, self.seen = self.seen, self.ids()
        assert len(rows) == len(self.seen) - len(before)
        return sorted((row["action"], row["resource_id"]) for row in rows)

    def chains(self) -> list[str | None]:
        """Of each world, what is broken."""
        done = run("audit", "verify", "--json", *self.place, env=self.env)
        broken = [each["broken"] for each in json.loads(done.stdout)["data"]]
        assert done.returncode == (1 if any(broken) else 0)
        return [None if each is None else each["message"] for each in broken]


class Restored(NamedTuple):
    """The backup, restored into a database of the test's own; `administrator`: the URL of a superuser."""

    url: str
    administrator: str
    log: Log


@pytest.fixture(scope="module")
def template(installed: Installation, postgres: EmbeddedPostgres, module_folder: Path) -> Generator[str]:
    """A database into which `lapel restore` restored the backup."""
    name = "audit_restored"
    url = create_database(postgres, name)
    env = {"LAPEL_DATABASE_URL": url, "LAPEL_SECRET": (installed.backup / "secret").read_text().strip()}
    try:
        told("restore", installed.backup, "--data-dir", module_folder / "restored", env=env)
        yield name
    finally:
        drop_database(postgres, name)


@pytest.fixture
def restored(
    installed: Installation, template: str, postgres: EmbeddedPostgres, module_folder: Path
) -> Generator[Restored]:
    name = "audit_restored_copy"
    url = create_database(postgres, name, template)
    env = {"LAPEL_DATABASE_URL": url, "LAPEL_SECRET": (installed.backup / "secret").read_text().strip()}
    try:
        log = Log(url, "--data-dir", module_folder / "restored", env=env)
        yield Restored(url, postgres.dsn("postgres", name), log)
    finally:
        drop_database(postgres, name)


@pytest.mark.deep
def test_each_command_that_writes_leaves_its_entry(
    installed: Installation, restored: Restored, tmp_path: Path
) -> None:
    log = restored.log
    assert log.told("init")["key"] is None
    assert log.new() == []
    project = log.told("projects", "create", "Other")["id"]
    assert log.new() == [("project.created", project)] * 2
    of = ("--project", project)
    made = log.told("keys", "create", *of)["id"]
    assert log.new() == [("key.created", made)]
    rotated = log.told("keys", "rotate", made)["id"]
    assert log.new() == [("key.rotated", made)]
    log.told("keys", "revoke", rotated)
    assert log.new() == [("key.revoked", rotated)]
    log.told("config", "set", "upload", "allow_roaming=true")
    ((action, organization), second) = log.new()  # both projects are of one organization
    assert (action, second) == ("config.updated", ("config.updated", organization))
    log.told("config", "clear", "upload")
    assert log.new() == [("config.cleared", organization)] * 2
    log.told("providers", "set", "deepgram", "--key-env", "K", *of, K="k3y-of-the-provider")
    assert log.new() == [("provider.updated", "deepgram")]
    log.told("providers", "remove", "deepgram", *of)
    assert log.new() == [("provider.removed", "deepgram")]
    log.told("export", installed.person, "-o", tmp_path / "jane.zip")
    assert log.new() == [("end_user.exported", installed.person)]
    log.told("erase", installed.recording, "--yes")
    assert log.new() == [("recording.deleted", installed.recording)]
    log.told("erase", installed.person, "--yes")
    assert log.new() == [("end_user.deleted", installed.person)]
    for reads in (("projects", "list"), ("config", "show"), ("providers", "list", *of), ("keys", "list"),
                  ("migrate",), ("backup", tmp_path / "copy"), ("audit", "verify")):  # fmt: skip
        log.told(*reads)
        assert log.new() == []


def test_a_first_start_tells_of_its_project_and_key(restored: Restored) -> None:
    first = [
        (each["action"], each["actor"])
        for each in restored.log.entries()
        if each["action"] in ("project.created", "key.created")
    ]
    operator = {"kind": "operator", "id": None}
    assert first == [(action, operator) for action in ("project.created", "project.created", "key.created")]


def test_a_restore_is_an_entry_of_each_world_and_continues_its_chain(
    installed: Installation, restored: Restored
) -> None:
    log = restored.log
    backup = json.loads((installed.backup / "backup.json").read_text())
    entries = log.entries()
    restores = [each for each in entries if each["action"] == "project.restored"]
    assert [each["resource_id"] for each in restores] == [installed.project] * 2
    for each in restores:
        assert each["actor"] == {"kind": "operator", "id": None}
        assert each["after"] == {"backup_created_at": backup["created_at"]}
        assert each["created_at"] > backup["created_at"]
    # What came later than the backup is lost, and the chain goes on from the end of the backup's chain.
    assert max(each["created_at"] for each in entries if each not in restores) <= backup["created_at"]
    assert log.chains() == [None, None]
    log.new()
    seen = log.told("erase", "--reconcile", "--from", installed.ledger)
    assert seen["erased"] == 2
    other, recording = installed.deleted
    assert log.new() == [("end_user.deleted", other), ("recording.deleted", recording)]
    assert log.chains() == [None, None]


def test_after_a_restore_the_application_may_only_add(restored: Restored) -> None:
    asyncio.run(refuses_changes(restored.url))


@pytest.mark.deep
def test_an_embedded_database_is_restored_with_the_rights_of_the_log(
    installed: Installation, tmp_path: Path
) -> None:
    place = ("--data-dir", tmp_path / "data")
    told("restore", installed.backup, *place)
    findings = json.loads(run("doctor", "--json", *place).stdout)["findings"]
    (rights,) = [each for each in findings if each["part"] == "audit log"]
    assert rights["state"] == "ok"
    assert run("audit", "verify", *place).returncode == 0


def test_verify_names_the_first_broken_link_of_each_world(restored: Restored) -> None:
    log = restored.log
    shown = run("audit", "verify", *log.place, env=log.env)
    assert (shown.returncode, shown.stderr) == (0, "")
    head = shown.stdout.splitlines()[0]
    assert re.split(" {2,}", head) == ["PROJECT", "MODE", "GOOD ENTRIES", "ERASED", "SIGNED UP TO", "CHAIN"]
    assert shown.stdout.count("good") == 2
    victim = max(log.entries(), key=lambda each: each["chain"]["number"])
    change = "UPDATE audit_log SET actor_kind = 'nobody' WHERE id = $1"

    asyncio.run(query(restored.administrator, change, victim["id"]))
    shown = run("audit", "verify", *log.place, env=log.env)
    assert shown.returncode == 1
    assert (shown.stdout.count("good"), shown.stdout.count("BROKEN")) == (1, 1)
    (line,) = shown.stderr.splitlines()
    assert f"test, number {victim['chain']['number']}, entry {victim['id']}: " in line
    assert line.endswith("the entry or its hash is not what was chained (changed).")
    found = run("audit", "verify", "--json", "--project", victim["project_id"], *log.place, env=log.env)
    assert found.returncode == 1
    (broken,) = [each["broken"] for each in json.loads(found.stdout)["data"] if each["broken"]]
    assert (broken["kind"], broken["entry_id"]) == ("changed", victim["id"])


def test_checkpoints_of_what_a_restore_lost_are_explained(
    installed: Installation, restored: Restored
) -> None:
    log = restored.log
    found = run("audit", "verify", "--checkpoints", installed.checkpoints, *log.place, env=log.env)
    assert found.returncode == 1
    assert "BROKEN" in found.stdout
    lines = found.stderr.splitlines()
    assert lines
    for line in lines:
        assert "the log says that it was restored at" in line
        assert "give only checkpoints that were signed after it" in line
        assert line.endswith("(rewritten).")
    since = installed.checkpoints.with_name("since.log")
    since.write_text(
        "".join(
            row["token"] + "\n"
            for row in asyncio.run(query(restored.url, "SELECT token FROM audit_checkpoints"))
        )
    )
    assert all(each["broken"] is None for each in log.told("audit", "verify", "--checkpoints", since)["data"])


def test_a_project_that_the_database_has_lost_is_told_after_the_others(restored: Restored) -> None:
    log = restored.log
    claims = CheckpointClaims(
        project="proj_gone", world="live", position=1, number=1, hash="00" * 32, previous=None, iat=1
    )
    token = signing.signer(log.env["LAPEL_SECRET"], None).sign(claims)
    found = subprocess.run(
        [*LAPEL, "audit", "verify", "--checkpoints", "-", *log.place],
        input=b"\xff " + token.encode(),
        capture_output=True,
        env=os.environ | log.env,
        check=False,
    )
    assert found.returncode == 1
    assert found.stdout.count(b"good") == 2
    assert found.stderr.startswith(b"lapel: proj_gone: a checkpoint of its audit log was given")


def test_what_verify_and_export_cannot_do_is_one_line(restored: Restored, tmp_path: Path) -> None:
    log = restored.log
    for arguments, why in (
        (("verify", "--project", "proj_none"), "no project"),
        (("verify", "--checkpoints", Path(__file__)), "has no checkpoint of an audit log"),
        (("verify", "--checkpoints", tmp_path / "none"), "No such file"),
        (("export", "-", "--project", "proj_none"), "no project"),
        (("export", "-", "--since", "yesterday"), "not a time"),
        (("export", "-", "--until", "2027-01-31T00:00:00"), "no time zone"),
        (
            ("export", "-", "--since", "9999-12-31T23:59:59-14:00"),
            "--since '9999-12-31T23:59:59-14:00' is not",
        ),
        (("export", "-", "--until", "0001-01-01T00:00:00+01:00"), "not within the years 1 to 9999 in UTC."),
        (("export", tmp_path), "exists"),
        (("export", "--world"), "no flag"),
    ):
        done = run("audit", *arguments, *log.place, env=log.env)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert why in done.stderr


def test_an_export_that_fails_leaves_no_file(tmp_path: Path) -> None:
    """So that the corrected command may name the same file."""
    file, place = tmp_path / "audit.ndjson", tmp_path / "nowhere"
    assert run("audit", "export", file, "--data-dir", place).returncode == 1
    assert list(tmp_path.glob("*audit*")) == []


def test_export_writes_lines_for_the_owner_alone(
    installed: Installation, restored: Restored, tmp_path: Path
) -> None:
    log, file = restored.log, tmp_path / "audit.ndjson"
    done = log.told("audit", "export", file, "--project", installed.project)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert done == {"path": str(file), "mode": "test", "entries": len(lines)}
    shown = run("audit", "export", tmp_path / "live", "--mode", "live", *log.place, env=log.env).stdout
    assert shown.endswith(" entries of live worlds\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    times = [each["created_at"] for each in lines]
    assert times == sorted(times)
    middle = lines[len(lines) // 2]["created_at"]
    for flag, kept in (("--since", middle), ("--until", middle)):
        part = run("audit", "export", "-", "--mode", "test", flag, kept, *log.place, env=log.env).stdout
        found = [json.loads(line)["created_at"] for line in part.splitlines()]
        assert found == [each for each in times if (each >= kept if flag == "--since" else each < kept)]


def test_help_of_both_shows_examples_and_flags() -> None:
    for name, flags in (("verify", ("--project", "--json")), ("export", ("--mode", "--since", "--until"))):
        done = run("audit", name, "--help")
        assert done.returncode == 0
        assert f"lapel audit {name}" in done.stdout.partition("For example")[2]
        assert all(flag in done.stdout for flag in flags)
