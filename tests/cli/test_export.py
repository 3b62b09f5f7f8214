"""`lapel export`, with the server running and stopped, and files that are complete or not there."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NamedTuple

import pytest

from lapel.cli.commands.export import write_whole
from lapel.cli.shared.faults import CommandError
from lapel.foundation.core.errors import Unavailable
from tests.support.installation import Installation
from tests.support.plain_http import http
from tests.support.serving import run, serving, told


class Installed(NamedTuple):
    """A stopped installation with an end user and a recording, and an export made while it ran."""

    data: Path
    person: str
    recording: str
    live: Path


@pytest.fixture(scope="module")
def installed(installation: Installation, module_folder: Path) -> Installed:
    """One server start for the whole file."""
    data, live = module_folder / "data", module_folder / "live.zip"
    auth = {"authorization": f"Bearer {installation.copy(data)}"}
    with serving(data) as served:

        def post(path: str, **body: str) -> dict[str, str]:
            answer = http.post(f"{served.url}/v1/{path}", json=body, headers=auth)
            assert answer.is_success, answer.text
            return answer.json()

        person = post("end-users", name="Jane")["id"]
        recording = post("recordings", end_user_id=person, name="Talk")["id"]
        upload = http.post(f"{served.url}/v1/recordings/{recording}/upload-url", json={}, headers=auth).json()
        http.put(upload["upload_url"], content=b"OggS talk", headers=upload["headers"])
        post(f"recordings/{recording}/upload-complete")
        done = told("export", person, "-o", live, "--data-dir", data)
        assert (done["path"], done["bytes"]) == (str(live), live.stat().st_size)
    return Installed(data, person, recording, live)


def check(path: Path, installed: Installed) -> None:
    """The file is a whole export, which only its owner may read."""
    with zipfile.ZipFile(path) as found:
        assert found.testzip() is None
        assert found.read(f"recordings/{installed.recording}/Talk.opus") == b"OggS talk"
        assert json.loads(found.read("end_user.json"))["name"] == "Jane"
        actors = {
            each["actor"]["kind"]
            for each in json.loads(found.read("audit_log.json"))
            if each["action"] == "end_user.exported"
        }
        assert actors == {"operator"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_export_is_written_with_the_server_running_or_stopped(
    installed: Installed, tmp_path: Path
) -> None:
    check(installed.live, installed)
    stopped = tmp_path / "stopped.zip"
    told("export", installed.person, "-o", stopped, "--data-dir", installed.data)
    check(stopped, installed)
    assert [each.name for each in tmp_path.iterdir()] == ["stopped.zip"]


def test_what_cannot_be_exported_is_one_line(installed: Installed, tmp_path: Path) -> None:
    place = ("--data-dir", installed.data)
    there = run("export", installed.person, "-o", installed.live, *place)
    assert (there.returncode, there.stdout) == (1, "")
    assert f"{installed.live} exists already" in there.stderr
    nobody = run("export", "eu_nobody", "-o", tmp_path / "x.zip", *place)
    assert nobody.returncode == 1
    assert "there is no end user 'eu_nobody'" in nobody.stderr
    nowhere = run("export", installed.person, "-o", tmp_path / "no" / "x.zip", *place)
    assert nowhere.returncode == 1
    assert "No such file or directory" in nowhere.stderr
    assert list(tmp_path.iterdir()) == []


async def _pieces(*pieces: bytes, then: Exception | None = None) -> AsyncGenerator[bytes]:
    for piece in pieces:
        yield piece
    if then is not None:
        raise then


def write(path: Path) -> None:
    """As another program would."""
    path.write_bytes(b"of another program")


async def _made_meanwhile(path: Path) -> AsyncGenerator[bytes]:
    yield b"c"
    write(path)


def names(folder: Path) -> list[str]:
    """What is in the folder."""
    return sorted(each.name for each in folder.iterdir())


async def test_a_file_is_complete_or_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, seconds = tmp_path / "a.zip", iter(range(0, 1000, 7))
    with pytest.raises(Unavailable):
        await write_whole(path, _pieces(b"half", then=Unavailable("away")), lambda: next(seconds))
    assert names(tmp_path) == []
    (tmp_path / ".a.zip.part").write_bytes(b"what a killed command left")
    assert await write_whole(path, _pieces(b"a", b"b"), lambda: next(seconds)) == 2
    assert path.read_bytes() == b"ab"
    late = tmp_path / "late.zip"
    with pytest.raises(CommandError, match="exists already"):
        await write_whole(late, _made_meanwhile(late), lambda: next(seconds))
    assert names(tmp_path) == ["a.zip", "late.zip"]
    assert late.read_bytes() == b"of another program"
    assert path.read_bytes() == b"ab"
    assert "lapel: 0 MiB written" in capsys.readouterr().err
