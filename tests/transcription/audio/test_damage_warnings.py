"""Damage in words: bounded in number, with what a client declared."""

from __future__ import annotations

import pytest

from lapel.slices.transcription.audio.audio_facts import AudioFacts, Damage
from lapel.slices.transcription.audio.damage.damage_warnings import warnings_of
from lapel.slices.transcription.audio.pieces import cut_at_gaps


def facts(*damage: Damage, duration_ms: int = 100_000) -> AudioFacts:
    return AudioFacts(
        duration_ms=duration_ms, channels=1, sample_rate=16_000, codec="opus", container="ogg",
        mime_type="audio/ogg", peaks=b"", pieces=[(0, duration_ms)], damage=list(damage),
    )  # fmt: skip


def gap(at: int, missing_ms: int | None) -> Damage:
    return Damage(kind="gap", start_ms=at, end_ms=at, missing_ms=missing_ms)


def test_each_kind_in_words() -> None:
    found = warnings_of(
        facts(
            gap(9_000, 12_140),
            gap(20_000, None),
            Damage(kind="corrupt_bytes", start_ms=30_000, end_ms=31_000, missing_ms=0),
            Damage(kind="cut", start_ms=100_000, end_ms=None, missing_ms=5_000),
            Damage(kind="short", start_ms=100_000, end_ms=None, missing_ms=2_000),
        ),
        None,
    )
    assert [(each.code, each.message) for each in found] == [
        ("audio_gap", "12.1 s of audio are missing at 0:00:09: a part of the file is damaged or lost."),
        (
            "audio_gap",
            "Audio of unknown length is missing at 0:00:20: a part of the file is damaged or lost.",
        ),
        ("audio_corrupt_bytes", "The file has damaged bytes at 0:00:30; audio may be missing there."),
        ("audio_cut", "The file breaks off at 0:01:40, 5.0 s too early."),
        (
            "audio_shorter_than_claimed",
            "The file says that it holds 102.0 s of audio or more, and 100.0 s can be decoded.",
        ),
    ]
    assert [each.end_ms for each in found] == [9_000, 20_000, 31_000, None, None]


def test_many_are_summed_up() -> None:
    found = warnings_of(facts(*(gap(at * 1_000, 100) for at in range(90))), None)
    assert len(found) == 21
    assert (found[-1].code, found[-1].start_ms, found[-1].end_ms, found[-1].missing_ms) == (
        "audio_more_damage",
        20_000,
        89_000,
        7_000,
    )
    assert "at 70 more places" in found[-1].message


@pytest.mark.parametrize(
    ("damage", "claimed_ms", "expected"),
    [
        ([], 102_900, []),
        ([], 104_000, [("audio_shorter_than_claimed", 4_000)]),
        ([gap(5_000, 10_000)], 112_000, [("audio_gap", 10_000)]),
        ([gap(5_000, None)], 112_000, [("audio_gap", 12_000)]),
        ([gap(5_000, 1_000)], 112_000, [("audio_gap", 1_000), ("audio_shorter_than_claimed", 11_000)]),
        (
            [gap(5_000, None), gap(9_000, None)],
            112_000,
            [("audio_gap", None), ("audio_gap", None), ("audio_shorter_than_claimed", 12_000)],
        ),
        ([gap(5_000, None)], None, [("audio_gap", None)]),
        ([gap(5_000, None)], 50_000, [("audio_gap", None)]),
    ],
)
def test_what_a_client_declared(
    damage: list[Damage], claimed_ms: int | None, expected: list[tuple[str, int | None]]
) -> None:
    found = warnings_of(facts(*damage), claimed_ms)
    assert [(each.code, each.missing_ms) for each in found] == expected


def test_pieces_end_at_gaps_unless_they_would_be_very_short() -> None:
    levels = bytes(200) * 10
    assert cut_at_gaps(levels, 100_000, []) == [(0, 100_000)]
    assert cut_at_gaps(levels, 100_000, [30_000, 33_000, 99_000]) == [(0, 30_000), (30_000, 100_000)]
    long = cut_at_gaps(bytes(20_000), 1_000_000, [400_000])
    assert 400_000 in {end for _, end in long}
    assert max(end - start for start, end in long) <= 300_000
