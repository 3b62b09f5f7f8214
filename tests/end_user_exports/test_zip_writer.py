"""Zips that other programs read, beyond the limits of the old format."""

from __future__ import annotations

import io
import subprocess
import tempfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.slices.end_user_exports.zip_writer import ZipWriter

AT = datetime(2026, 11, 28, 13, 14, 16, tzinfo=UTC)
FILES = st.dictionaries(
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40).filter(
        lambda name: not {"/", "\\"} & set(name)
    ),
    st.tuples(st.booleans(), st.lists(st.binary(max_size=2000), max_size=4)),
    max_size=6,
)


@given(FILES)
def test_python_reads_what_was_written(files: dict[str, tuple[bool, list[bytes]]]) -> None:
    made = io.BytesIO()
    with tempfile.TemporaryFile() as directory:
        writer = ZipWriter(directory, AT)
        for name, (deflated, pieces) in files.items():
            made.write(writer.begin(name, deflated=deflated))
            for piece in pieces:
                made.write(writer.write(piece))
            made.write(writer.end()[0])
        made.writelines(writer.finish())
    with zipfile.ZipFile(made) as found:
        assert found.testzip() is None
        assert {each: found.read(each) for each in found.namelist()} == {
            name: b"".join(pieces) for name, (_, pieces) in files.items()
        }
        assert {each.date_time for each in found.infolist()} <= {(2026, 11, 28, 13, 14, 16)}


def test_more_files_than_16_bits_count(tmp_path: Path) -> None:
    path, count = tmp_path / "many.zip", 2**16 + 5
    with tempfile.TemporaryFile() as directory, path.open("wb") as file:
        writer = ZipWriter(directory, AT)
        for number in range(count):
            file.write(writer.begin(f"{number}", deflated=False) + writer.write(b"x") + writer.end()[0])
        file.writelines(writer.finish())
    with zipfile.ZipFile(path) as found:
        assert len(found.namelist()) == count
        assert found.read(f"{count - 1}") == b"x"
    _others_read(path)


def test_files_beyond_4_gib(tmp_path: Path) -> None:
    """The zip has a hole of 5 GiB, which takes no room on the disk, in place of earlier files."""
    path, hole = tmp_path / "long.zip", 5 * 2**30
    with tempfile.TemporaryFile() as directory, path.open("wb") as file:
        writer = ZipWriter(directory, AT)
        writer._offset = hole
        file.seek(hole)
        for name in ("late.txt", "later.txt"):
            file.write(writer.begin(name, deflated=True) + writer.write(b"so late") + writer.end()[0])
        file.writelines(writer.finish())
    with zipfile.ZipFile(path) as found:
        assert [found.read(each) for each in found.namelist()] == [b"so late"] * 2
    _others_read(path)


def test_a_path_that_no_zip_can_hold_is_refused() -> None:
    with tempfile.TemporaryFile() as directory, pytest.raises(ValueError, match="65536 bytes"):
        ZipWriter(directory, AT).begin("x" * 2**16, deflated=True)


def _others_read(path: Path) -> None:
    done = subprocess.run(["unzip", "-tqq", path], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
