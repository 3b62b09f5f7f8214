"""The list of crash points names exactly the places that are in the code."""

from __future__ import annotations

import re
from pathlib import Path

import lapel
from lapel.slices.erasure.slice import SLICE as ERASURE
from lapel.slices.recordings.slice import SLICE as RECORDINGS

_CALL = re.compile(r"crash_point\(\s*(.*?)\s*\)", re.DOTALL)
_TEXT = re.compile(r'f?"([^"]+)"')
_FOLDERS = ("recordings", "erasure")


def test_every_point_is_listed_once_and_every_listed_one_exists() -> None:
    found: set[str] = set()
    for folder in _FOLDERS:
        for file in (Path(lapel.__file__).parent / "slices" / folder).rglob("*.py"):
            for call in _CALL.findall(file.read_text()):
                for name in _TEXT.findall(call):
                    stages = ("complete", "hash") if name.startswith("{stage}") else ("",)
                    found.update(name.replace("{stage}", stage) for stage in stages)
    assert sorted(RECORDINGS.crash_points + ERASURE.crash_points) == sorted(found)
