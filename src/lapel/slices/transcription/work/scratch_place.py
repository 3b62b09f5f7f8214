"""The folder of one audio, and the record that makes its samples usable after a kill.

The record is written when the samples are complete. Another process uses the samples only if they were made
by the same decoder, and since the last start of the machine: the files are not synced to the disk, so after a
power cut they may have their full size without their content.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import shutil
import stat
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec

from lapel.foundation.workers.private_folder import private_file
from lapel.slices.transcription.audio.audio_facts import AudioFacts
from lapel.slices.transcription.speech.messages import pcm_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_DECODING = ("lapel.slices.transcription.audio", "lapel.slices.transcription.audio.damage")
_RECORD = "place.json"
_MOST_BYTES = 1024 * 1024
# A damaged folder, a full disk, or a system that does not tell its versions or starts.
_FAULTS = (OSError, ValueError, RecursionError, ImportError)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# The fields have bounds, because a damaged record must not fail the statements that read it.
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Id: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z_]{1,100}\Z")]


class DecodedAudio(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The record of an audio and its samples, both complete. `size`, `pcm_size`: bytes of their files.

    `decoder`: what decoded the audio. `boot`: the start of the machine, from which on the files are complete.
    """

    world_id: _Count
    recording_id: _Id
    object_key: str
    size: _Count
    pcm_size: _Count
    decoder: str
    boot: str
    facts: AudioFacts

    @property
    def recording(self) -> tuple[int, str]:
        """Ids of the world and the recording."""
        return self.world_id, self.recording_id


@dataclass(slots=True, eq=False)
class ScratchPlace:
    """A folder with one audio: `file` as it was uploaded and, once it is decoded, `pcm`.

    `recording`: ids of its world and recording. `size`: of the audio, in bytes. `facts`: set while `pcm` has
    the samples. `leased_until`: until this time (`time.monotonic`), a lease on work on the recording may be
    one of a killed process.
    """

    folder: Path
    recording: tuple[int, str]
    object_key: str
    size: int
    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    fetched: bool = False
    deleted: bool = False
    facts: AudioFacts | None = None
    leased_until: float = 0.0

    @property
    def file(self) -> Path:
        """The audio as it was uploaded."""
        return self.folder / "audio"

    @property
    def pcm(self) -> Path:
        """The decoded samples: 16 kHz, mono, signed 16-bit little-endian."""
        return pcm_name(self.folder)

    def set_decoded(self, facts: AudioFacts) -> None:
        """Record that `pcm` has all samples. Ignores errors: without a record, the audio is decoded anew."""
        self.facts = facts
        part = self.folder / "place.part"
        with contextlib.suppress(*_FAULTS):
            record = DecodedAudio(
                world_id=self.recording[0],
                recording_id=self.recording[1],
                object_key=self.object_key,
                size=self.size,
                pcm_size=self.pcm.stat().st_size,
                decoder=_decoder(),
                boot=_boot(),
                facts=facts,
            )
            try:
                with private_file(part) as file:
                    file.write(msgspec.json.encode(record))
                part.replace(self.folder / _RECORD)
            finally:
                part.unlink(missing_ok=True)


@dataclass(slots=True)
class Stay:
    """What a step says at its end. `next_waits`: a step that reads the same audio follows in the queue."""

    next_waits: bool = False


def decoded_audio(folders: Iterable[Path]) -> list[tuple[Path, DecodedAudio]]:
    """Those of these places whose audio and samples are complete and usable by this process, newest first."""
    found: list[tuple[int, Path, DecodedAudio]] = []
    for folder in folders:
        with contextlib.suppress(*_FAULTS):
            written, record = _read_record(folder)
            found.append((written, folder, record))
    found.sort(key=lambda each: each[0], reverse=True)
    return [(folder, record) for _, folder, record in found]


def _read_record(folder: Path) -> tuple[int, DecodedAudio]:
    """The record of a place, and when it was written (ns).

    Raises ValueError when the place cannot be used, OSError when it cannot be read.
    """
    _check(folder.lstat(), stat.S_ISDIR)
    sizes = {each.name: _check(each.lstat(), stat.S_ISREG).st_size for each in folder.iterdir()}
    with (folder / _RECORD).open("rb") as file:
        written, content = os.fstat(file.fileno()).st_mtime_ns, file.read(_MOST_BYTES)
    record = msgspec.json.decode(content, type=DecodedAudio)
    expected = {"audio": record.size, pcm_name(folder).name: record.pcm_size, _RECORD: len(content)}
    if sizes != expected or (record.decoder, record.boot) != (_decoder(), _boot()):
        raise ValueError("not complete, or of another decoder")
    return written, record


def _check(about: os.stat_result, is_kind: Callable[[int], bool]) -> os.stat_result:
    """Raises ValueError unless it is of this kind, is ours, and is private."""
    if not is_kind(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise ValueError("not a private file or folder of this user")
    return about


@cache
def _decoder() -> str:
    """What samples depend on beside the file: the code of the decoder, and its library."""
    code = hashlib.sha256()
    for package in _DECODING:
        modules = (each for each in files(package).iterdir() if each.name.endswith(".py"))
        for each in sorted(modules, key=lambda module: module.name):
            code.update(each.read_bytes())
    return f"{code.hexdigest()} av {version('av')}"


def _boot() -> str:
    """The id of the machine's current start. Raises OSError where the system does not tell it."""
    return _BOOT_ID.read_text("ascii").strip()


def check_room(folder: Path, size: int) -> None:
    """Raise OSError unless the disk has room for `size` bytes.

    Without this check each try would fill the disk, and the database or the store may be on the same disk.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(errno.ENOSPC, f"the audio has {size} bytes and the disk {free} free", str(folder))
