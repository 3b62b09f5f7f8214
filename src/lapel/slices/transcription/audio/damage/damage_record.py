"""Turns the places in a file, and the faults of decoding, into stretches of the decoded audio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.slices.transcription.audio.audio_facts import Damage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.slices.transcription.audio.damage.file_places import DamageKind, FilePlace
    from lapel.slices.transcription.audio.damage.scan import Scanned

# Milliseconds. Damage that is closer together is one stretch.
_NEAR_MS = 1_000
# Less audio than this is lost at the end of a file by its encoder, or by rounding.
_SHORT_MS = 500
# How much of what is missing may be wrong, because it is estimated.
_INEXACT = 0.2
# If less is lost by packets that cannot be decoded, the damage is told, but not as a gap.
_LEAST_GAP_MS = 100
# A week: more cannot be missing, so the figure itself is damaged.
_MOST_MISSING_MS = 604_800_000


@dataclass(slots=True)
class _LostStretch:
    kind: DamageKind
    start_ms: int
    end_ms: int
    missing_ms: int | None


class DamageRecord:
    """Collects the damage of one file while it is decoded.

    Times are of the decoded audio: a gap takes no time in it. `trusts_times`: the time stamps of this format
    tell how much is missing at a damaged place.
    """

    def __init__(self, scanned: Scanned, size: int, *, trusts_times: bool, bears_faults: bool) -> None:
        """`size`: of the file, in bytes. `bears_faults`: in this format, single frames of a whole file cannot
        be decoded, because it was cut or joined, and they refer to frames that are not in it."""
        self._scanned = scanned
        self._size = size
        self._trusts_times = trusts_times
        self._bears_faults = bears_faults
        self._next = 0  # the next place of the container
        self._of_container: list[_LostStretch] = []
        self._of_decoder: list[_LostStretch] = []
        self._drift: float | None = None  # how far time stamps are ahead of the decoded audio
        self._begun: int | None = None  # the decoded milliseconds at which the next place begins
        self._failing = False

    def reach(self, position: int | None, stamp: float | None, decoded: float) -> None:
        """The next packet begins at this byte. `stamp`: its time; `decoded`: all audio before it, in
        seconds."""
        at = round(decoded * 1000)
        while (place := self._next_place()) is not None and place.kind != "cut":
            if self._begun is None and _is_reached(place, place.begin, position, at):
                self._begun = at
            if self._begun is None or not _is_reached(place, place.at, position, at):
                break
            self._next += 1
            missing = place.missing_ms
            if missing is None and self._trusts_times and stamp is not None and self._drift is not None:
                missing = max(round((stamp - decoded - self._drift) * 1000), 0)
            self._of_container.append(
                _LostStretch("gap" if missing else place.kind, self._begun, at, missing)
            )
            self._begun = None

    def succeed(self, stamp: float | None, decoded: float) -> None:
        """A packet was decoded; `decoded`: all audio before it."""
        self._failing = False
        if stamp is not None and self._begun is None:
            self._drift = stamp - decoded

    @property
    def goes_on(self) -> bool:
        """Whether readable audio follows damage that was not reached yet."""
        return any(each.kind != "cut" and each.at < self._size for each in self._scanned.places[self._next :])

    def _next_place(self) -> FilePlace | None:
        places = self._scanned.places
        return places[self._next] if self._next < len(places) else None

    def lose(self, seconds: float, decoded: float) -> None:
        """So much audio cannot be decoded, or is not in the file, at this place."""
        at, lost = round(decoded * 1000), round(seconds * 1000)
        last = self._of_decoder[-1] if self._of_decoder else None
        self._failing = True
        if last is not None and at - last.end_ms < _NEAR_MS:
            last.end_ms = at
            last.missing_ms = (last.missing_ms or 0) + lost
        else:
            self._of_decoder.append(_LostStretch("corrupt_bytes", at, at, lost))

    def finish(self, duration_ms: int, *, torn: bool, most: int) -> list[Damage]:
        """All damage, in order: at most `most` stretches, the last of which then stands for all that follow.

        `torn`: the file could not be read to its end.
        """
        for place in self._scanned.places[self._next :]:
            # No packet begins behind it.
            is_padding = place.kind == "corrupt_bytes" and place.missing_ms == 0
            start = duration_ms if self._begun is None else self._begun
            kind = place.kind if is_padding else "cut"
            self._of_container.append(_LostStretch(kind, start, duration_ms, place.missing_ms))
            self._begun = None
        if self._bears_faults:
            self._of_decoder = [each for each in self._of_decoder if (each.missing_ms or 0) >= _LEAST_GAP_MS]
        elif self._failing and self._of_decoder:
            self._of_decoder[-1].kind, self._of_decoder[-1].missing_ms = "cut", None
        if torn and not any(each.kind == "cut" for each in [*self._of_container, *self._of_decoder]):
            self._of_container.append(_LostStretch("cut", duration_ms, duration_ms, None))
        for each in self._of_decoder:
            if each.kind != "cut" and (each.missing_ms or 0) >= _LEAST_GAP_MS:
                each.kind = "gap"
        merged = _merge([*self._of_container, *self._find_unexplained()], most)
        return [*self._describe(merged, duration_ms), *self._find_shortfall(merged, duration_ms)]

    def _find_unexplained(self) -> list[_LostStretch]:
        """The decoder's faults where the container shows no damage."""
        return [
            each
            for each in self._of_decoder
            if not any(
                other.start_ms - _NEAR_MS <= each.end_ms and each.start_ms <= other.end_ms + _NEAR_MS
                for other in self._of_container
            )
        ]

    def _describe(self, merged: list[_LostStretch], duration_ms: int) -> list[Damage]:
        short = self._measure_shortfall(merged, duration_ms)
        lone = self._find_lone(merged)
        return [
            Damage(
                kind=each.kind,
                start_ms=min(each.start_ms, duration_ms),
                end_ms=None if each.kind == "cut" else min(each.end_ms, duration_ms),
                missing_ms=_drop_implausible(short if each is lone else each.missing_ms),
            )
            for each in merged
        ]

    def _find_lone(self, merged: list[_LostStretch]) -> _LostStretch | None:
        """The only stretch of which it is unknown how much is missing: all that the header says beyond."""
        unknown = [each for each in merged if each.missing_ms is None]
        return unknown[0] if len(unknown) == 1 else None

    def _find_shortfall(self, merged: list[_LostStretch], duration_ms: int) -> list[Damage]:
        short = self._measure_shortfall(merged, duration_ms)
        if short is None or self._find_lone(merged) is not None:
            return []
        return [Damage(kind="short", start_ms=duration_ms, end_ms=None, missing_ms=_drop_implausible(short))]

    def _measure_shortfall(self, merged: list[_LostStretch], duration_ms: int) -> int | None:
        """By how much the audio is shorter than its header says, beyond what is known to be missing; None if
        it is not."""
        claimed = self._scanned.claimed_ms
        if claimed is None:
            return None
        missing = sum(each.missing_ms or 0 for each in merged)
        short = claimed - duration_ms - missing
        return short if short > _SHORT_MS + missing * _INEXACT else None


def gaps_of(damage: Sequence[Damage], duration_ms: int) -> list[int]:
    """The times, in milliseconds, over which no sentence goes on, because something between is missing."""
    times = {time for each in damage for time in (each.start_ms, each.end_ms)}
    return sorted(time for time in times if time is not None and 0 < time < duration_ms)


def _is_reached(place: FilePlace, offset: int, position: int | None, decoded_ms: int) -> bool:
    """Whether a packet that begins at byte `position` lies at or behind this byte of the place."""
    if place.before_ms is not None:
        return decoded_ms >= place.before_ms
    return position is not None and position >= offset


def _drop_implausible(missing_ms: int | None) -> int | None:
    return None if missing_ms is None or missing_ms > _MOST_MISSING_MS else missing_ms


def _merge(stretches: list[_LostStretch], most: int) -> list[_LostStretch]:
    """Neighbours that are near each other are one, and so are all from number `most` on."""
    merged: list[_LostStretch] = []
    for each in sorted(stretches, key=lambda stretch: (stretch.start_ms, stretch.end_ms)):
        last = merged[-1] if merged else None
        if last is None or (each.start_ms - last.end_ms >= _NEAR_MS and len(merged) < most):
            merged.append(each)
            continue
        kinds = {last.kind, each.kind}
        last.kind = "cut" if "cut" in kinds else "gap" if "gap" in kinds else "corrupt_bytes"
        last.end_ms = max(last.end_ms, each.end_ms)
        known = None not in (last.missing_ms, each.missing_ms)
        last.missing_ms = (last.missing_ms or 0) + (each.missing_ms or 0) if known else None
    return merged
