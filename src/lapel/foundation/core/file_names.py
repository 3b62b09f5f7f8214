"""File names that any system accepts, and the header that carries one (RFC 6266, RFC 5987)."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal
from urllib.parse import quote

Disposition = Literal["inline", "attachment"]

# Characters that a file system forbids, that a shell interprets, or that would end the quoted string.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f"*/:<>?\\|%;\u2028\u2029]+')
_SPACES = re.compile(r"\s+")
# First characters that make a name a hidden file, an option or a formula.
_LEADING = " .-="
# Windows reads these names as devices, with any extension.
_DEVICE = r"(?i:con|prn|aux|nul|com[0-9]|lpt[0-9]) *(?:\..*)?\Z"
_DEVICES = re.compile(_DEVICE)
# Most names; they stay as they are.
_PLAIN = re.compile(rf"(?!{_DEVICE})[A-Za-z0-9](?:[A-Za-z0-9 _.-]{{0,98}}[A-Za-z0-9_-])?\Z")
# Format, surrogate, private and unassigned characters: some reverse the direction of text, which would show
# `exe.opus` as `supo.exe`.
_INVISIBLE = frozenset({"Cf", "Cs", "Co", "Cn"})
_MAX_CHARACTERS = 100
# File systems take 255 bytes, suffix included.
_MAX_BYTES = 240
_ATTRIBUTE_CHARACTERS = "!#$&+-.^_`|~"


def clean(text: str) -> str:
    """The text as a file name without unsafe characters: at most 100 characters and 240 bytes, or empty."""
    if _PLAIN.match(text):
        return text
    text = _visible(unicodedata.normalize("NFKC", _visible(text[:1000])))
    text = _SPACES.sub(" ", _UNSAFE.sub("_", text)).lstrip(_LEADING)
    if _DEVICES.match(text):
        text = f"_{text}"
    return text[:_MAX_CHARACTERS].encode()[:_MAX_BYTES].decode(errors="ignore").rstrip(" .")


def _visible(text: str) -> str:
    return "".join(each for each in text if unicodedata.category(each) not in _INVISIBLE)


def content_disposition(disposition: Disposition, name: str, fallback: str) -> str:
    """The header's value, in ASCII, for a name that ends in a suffix. If the conversion to ASCII leaves
    nothing but separators before the suffix, old clients get `fallback` (plain ASCII) there."""
    if name.isascii():
        return f'{disposition}; filename="{name}"'
    # Old clients read the ASCII form only; all others prefer `filename*`.
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    stem, _, suffix = plain.rpartition(".")
    stem = clean(stem)
    plain = f"{stem if stem.strip(' ._-') else fallback}.{suffix}"
    return f"{disposition}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_ATTRIBUTE_CHARACTERS)}"
