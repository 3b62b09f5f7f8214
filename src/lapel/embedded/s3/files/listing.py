"""Listing a bucket: walking the tree of objects in the order of their keys.

Every folder of the tree holds keys that are neighbours in S3's order (`paths`), so sorting one folder at a
time is enough. The walk skips whole folders that are outside the prefix, before the start, or within a common
prefix that is already reported.

Source for order, prefixes and delimiters: ListObjectsV2, Amazon S3 API reference.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from lapel.embedded.s3.files.folder import Bucket
from lapel.embedded.s3.files.objects import DamagedObject, ObjectFacts, open_object
from lapel.embedded.s3.files.paths import decode_name

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ListingPage:
    """One page of a listing: objects and common prefixes, and where the next page starts."""

    objects: list[tuple[str, ObjectFacts]] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    next_after: str | None = None
    """If more keys follow, the last key or common prefix of this page; otherwise None."""


class Walk:
    """Yields the keys of a bucket that start with `prefix` and come after `after`, in order, as bytes.

    If `skip` is set between two keys, the walk passes over all keys that start with `skip`.
    """

    def __init__(self, tree: str, prefix: bytes, after: bytes) -> None:
        self._tree = tree
        self._prefix = prefix
        self._after = after
        self.skip: bytes | None = None

    def __iter__(self) -> Iterator[tuple[bytes, str]]:
        """Yield key and path of each object."""
        # A stack instead of recursion: the file of a key of slashes alone is a thousand folders deep.
        open_folders = [self._folder(self._tree, b"")]
        while open_folders:
            key, path = next(open_folders[-1], (None, ""))
            if key is None:
                open_folders.pop()
            elif self.skip is not None and key.startswith(self.skip):
                continue
            elif path.endswith(".o"):
                yield key, path
            else:
                open_folders.append(self._folder(path, key))

    def _folder(self, path: str, start: bytes) -> Iterator[tuple[bytes, str]]:
        """Yield the entries of one folder, in order; their keys all begin with `start`."""
        try:
            with os.scandir(path) as entries:
                found = sorted(filter(self._wanted, (_entry(start, each.name) for each in entries)))
        except (FileNotFoundError, NotADirectoryError):  # pruned meanwhile
            found = []
        for key, name in found:
            yield key, f"{path}/{name}"

    def _wanted(self, entry: tuple[bytes, str]) -> bool:
        key, name = entry
        if name.endswith(".o"):
            return key > self._after and key.startswith(self._prefix)
        if not (key.startswith(self._prefix) or self._prefix.startswith(key)):
            return False
        return key > self._after or self._after.startswith(key)


def _entry(start: bytes, name: str) -> tuple[bytes, str]:
    """Return the key of an object's file (for a folder: the beginning of all its keys), and the name."""
    kind = name[-2:]
    raw = start + decode_name(name[:-2])
    return (raw + b"/" if kind == ".d" else raw), name


def list_page(bucket: Bucket, prefix: str, delimiter: str, after: str, limit: int) -> ListingPage:
    """Return up to `limit` keys and common prefixes that come after `after`. Runs in a thread.

    Only committed objects are listed, because temporary files are in another folder. An object that is
    deleted while the page is made is left out.
    """
    page = ListingPage()
    if limit == 0:
        return page
    start, cut = prefix.encode(), delimiter.encode()
    walk = Walk(str(bucket.tree), start, after.encode())
    if cut and after.startswith(prefix) and after.endswith(delimiter) and len(after) > len(prefix):
        walk.skip = after.encode()  # `after` is a common prefix that an earlier page reported
    last = after
    for raw, path in walk:
        end = raw.find(cut, len(start)) if cut else -1
        if end >= 0:
            common = raw[: end + len(cut)]
            if len(page.objects) + len(page.prefixes) >= limit:
                page.next_after = last
                break
            walk.skip = common
            last = common.decode()
            page.prefixes.append(last)
            continue
        facts = _facts(path)
        if facts is None:
            continue
        if len(page.objects) + len(page.prefixes) >= limit:
            page.next_after = last
            break
        last = raw.decode()
        page.objects.append((last, facts))
    return page


def _facts(path: str) -> ObjectFacts | None:
    try:
        stored = open_object(path)
    except DamagedObject:  # one damaged file must not hide all others; reading it raises the error
        _log.exception("damaged object")
        return None
    if stored is None:
        return None
    stored.close()
    return stored.facts
