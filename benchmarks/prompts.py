"""Voice prompts that people recorded, with their texts, and music, from packages of Debian.

The prompts are those of Asterisk (`asterisk-core-sounds-*`; CC-BY-SA 3.0, Italian: CC-BY 3.0). Allison Smith
speaks English and Spanish, June Wallack French, Carlo Flora Italian. The music is that of
`asterisk-moh-opsound-g722` (CC-BY-SA 3.0). Nothing is installed: `apt-get download` and `dpkg-deb -x` write
into a folder, which is temporary unless `LAPEL_BENCH_PROMPTS` names one.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.samples import RATE, decoded

# Name and folder of the person who speaks the language.
_VOICES = {
    "en": ("Allison", "en_US_f_Allison"),
    "es": ("Allison", "es_MX_f_Allison"),
    "fr": ("June", "fr_CA_f_June"),
    "it": ("Carlo", "it_IT_m_Carlo"),
}
_TEXTS = [f"asterisk-core-sounds-{language}" for language in _VOICES]
_MUSIC = "asterisk-moh-opsound-g722"
_PACKAGES = [*_TEXTS, *(f"{name}-g722" for name in _TEXTS), _MUSIC]

# A line of a text: the prompt's name and its words.
_LINE = re.compile(r"([\w/-]+):\s*(\S.*)")
_WORDS = range(8, 31)
# Transcribers write numbers as digits or as words, and a remark in brackets is not spoken. Some Italian texts
# have a question mark in the place of a letter, or the name of another prompt.
_UNCLEAR = re.compile(
    r"[\d\[\]<>()*#]|www\.|^\.\.\.|(?-i:\? ?[a-z])|-\w+:"
    r"|\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten"
    r"|dos|tres|trés|cuatro|cinco|seis|siete|ocho|nueve"
    r"|zéro|deux|trois|quatre|cinq|sept|huit|neuf|due|tre|quattro|cinque|sei|sette|otto|nove)\b",
    re.IGNORECASE,
)

# Loudness is measured in steps. A step is speech if it is this much louder than the quietest (of full scale).
_STEP = RATE // 100
_LOUD = 0.005
# Kept before and after the words, in seconds.
_MARGIN = 0.15
# A pause shorter than this belongs to speech, in seconds.
_PAUSE = 0.3


@dataclass(frozen=True)
class Prompt:
    """A recorded sentence or two, and its words as written."""

    voice: str
    language: str
    text: str
    path: Path

    @cached_property
    def samples(self) -> NDArray[np.int16]:
        """16 kHz, mono; with at most 0.15 s before and after the words."""
        samples = decoded(self.path, form="g722")
        spans = loud(samples)
        start, end = max(spans[0][0] - _MARGIN, 0), spans[-1][1] + _MARGIN
        return samples[int(start * RATE) : int(end * RATE)]


@contextmanager
def unpacked() -> Iterator[Path]:
    """A folder with the unpacked packages. Raises RuntimeError if they cannot be had."""
    kept = os.environ.get("LAPEL_BENCH_PROMPTS")
    folder = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="lapel-bench-prompts-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in _PACKAGES:
            if not (folder / "usr/share/doc" / name).is_dir():
                _unpack(name, folder)
        yield folder
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def prompts(folder: Path, language: str) -> list[Prompt]:
    """The prompts of a language with 8 to 30 words, in the order of their names; no text occurs twice.

    `language`: en, es, fr or it. Prompts with numbers or remarks are left out.
    """
    voice, name = _VOICES[language]
    text = folder / f"usr/share/doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz"
    found: dict[str, Prompt] = {}
    for line in sorted(gzip.decompress(text.read_bytes()).decode("utf-8-sig").splitlines()):
        match = _LINE.fullmatch(line.strip())
        if match is None or len(match[2].split()) not in _WORDS or _UNCLEAR.search(match[2]):
            continue
        path = folder / f"usr/share/asterisk/sounds/{name}/{match[1]}.g722"
        if path.exists():
            found.setdefault(match[2].casefold(), Prompt(voice, language, match[2], path))
    return list(found.values())


def music(folder: Path) -> list[Path]:
    """The pieces of music, by name; G.722."""
    return sorted((folder / "usr/share/asterisk/moh").glob("*.g722"))


def loud(samples: NDArray[np.int16]) -> list[tuple[float, float]]:
    """Spans of speech in seconds, by loudness, without pauses of 0.3 s and more."""
    steps = samples[: len(samples) // _STEP * _STEP].reshape(-1, _STEP).astype(np.float64) / 32768
    level = np.sqrt((steps**2).mean(axis=1))
    spans: list[tuple[float, float]] = []
    for step in np.flatnonzero(level > level.min() + _LOUD):
        start, end = float(step) / 100, (float(step) + 1) / 100
        if spans and start - spans[-1][1] < _PAUSE:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def _unpack(name: str, folder: Path) -> None:
    """Unpack a package that lies in the folder; download it first if it does not."""
    try:
        if not list(folder.glob(f"{name}_*.deb")):
            subprocess.run(["apt-get", "download", name], cwd=folder, check=True, capture_output=True)
        package = next(folder.glob(f"{name}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as fault:
        raise RuntimeError(
            f"apt-get and dpkg-deb cannot provide the package {name} ({fault}). On a system without them,"
            f" download {', '.join(_PACKAGES)} from a mirror of Debian, unpack all of them into one folder"
            " (`ar x FILE.deb`, then `tar xf data.tar.xz`), and name the folder in LAPEL_BENCH_PROMPTS"
        ) from fault
