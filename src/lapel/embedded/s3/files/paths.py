"""From object keys to file names and back.

A key may be any text of up to 1,024 bytes; a file name may not. Each segment of a key becomes one folder or
file; a segment of 80 bytes or more becomes several, one inside the other. Each name has only
`a-z 0-9 - _ . + %` and ends in its kind:

    name.d   a folder: the keys that continue with a slash after this segment
    name.o   a file: the object whose key ends here
    name.c   a folder: the next 80 bytes of a segment that has 80 bytes or more left; it holds the rest

So `a` and `a/b` can both exist, no name is `.`, `..` or empty, and no key leads out of the bucket's folder.
Capital letters are written `+a`, other bytes `%xx`, so two keys never share a file on a file system that
ignores case. The keys below one folder are neighbours in S3's order, so a listing can walk the tree.
"""

import re
from functools import lru_cache

from lapel.embedded.s3.s3_errors import S3Error

MAX_KEY_BYTES = 1024
_PIECE = 80  # bytes of a segment per name: at three characters each they fit into the usual 255

_SPECIAL = re.compile(rb"[^a-z0-9_.-]")
_ESCAPED = re.compile(rb"%([0-9a-f]{2})|\+([a-z])")
_NAMES = {
    bytes([code]): (b"+%c" % (code + 32) if 65 <= code <= 90 else b"%%%02x" % code) for code in range(256)
}
# Characters that XML 1.0 cannot carry: a key with one could be stored but not listed.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _escape(match: re.Match[bytes]) -> bytes:
    return _NAMES[match[0]]


def _unescape(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 16)]) if match[1] else match[2].upper()


def encode_name(raw: bytes) -> str:
    """Write some bytes of a key as part of a file name."""
    return _SPECIAL.sub(_escape, raw).decode("ascii")


def decode_name(name: str) -> bytes:
    """Read back what `encode_name` wrote."""
    return _ESCAPED.sub(_unescape, name.encode("ascii"))


def check_key(raw: bytes) -> str:
    """Return the key in a URL's decoded bytes; raises `S3Error` for an invalid key."""
    if len(raw) > MAX_KEY_BYTES:
        raise S3Error("KeyTooLongError", f"A key has at most {MAX_KEY_BYTES} bytes.")
    try:
        key = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", "The key is not UTF-8.") from None
    if _NOT_XML.search(key):
        raise S3Error("InvalidArgument", "The key has characters that no XML document can carry.")
    return key


@lru_cache(maxsize=8192)
def object_path(key: str) -> str:
    """Return the path of an object's file, relative to its bucket's tree of objects."""
    *folders, last = key.encode().split(b"/")
    names: list[str] = []
    for segment in folders:
        names += _pieces(segment, ".d")
    return "/".join(names + _pieces(last, ".o"))


def _pieces(segment: bytes, kind: str) -> list[str]:
    names: list[str] = []
    while len(segment) >= _PIECE:
        names.append(f"{encode_name(segment[:_PIECE])}.c")
        segment = segment[_PIECE:]
    return [*names, f"{encode_name(segment)}{kind}"]
