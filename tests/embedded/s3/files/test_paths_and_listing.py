"""Keys on disk: every key has a file of its own, and a listing has S3's order, whatever the keys."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.embedded.s3.files.folder import Folder, valid_bucket
from lapel.embedded.s3.files.listing import ListingPage, list_page
from lapel.embedded.s3.files.objects import FileWriter, ObjectFacts, delete_object
from lapel.embedded.s3.files.paths import check_key, decode_name, encode_name, object_path
from lapel.embedded.s3.s3_errors import S3Error
from lapel.foundation.core.clock import ManualClock

SPARSE = st.text(st.sampled_from("ab/-.0Aé"), min_size=1, max_size=7)
LONG = st.builds(
    lambda start, middle, end: start * 79 + middle + end,
    st.sampled_from("aZ"),
    st.sampled_from(["", "a", "aa", "é", "/", "!", "~"]),
    SPARSE,
)
KEYS = st.one_of(SPARSE, LONG)


@given(st.binary(max_size=200))
def test_names_are_read_back_and_harmless(raw: bytes) -> None:
    name = encode_name(raw)
    assert decode_name(name) == raw
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.+%")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300))
def test_paths_stay_inside(key: str) -> None:
    for part in object_path(key).split("/"):
        assert part not in {"", ".", ".."}
        assert len(part) <= 255
        assert part[-2:] in {".o", ".d", ".c"}


@given(st.lists(KEYS, min_size=2, max_size=2, unique=True))
def test_two_keys_never_share_a_file_even_where_case_is_ignored(keys: list[str]) -> None:
    assert object_path(keys[0]).casefold() != object_path(keys[1]).casefold()


@pytest.mark.parametrize("raw", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"a\x00", "￿".encode(), b"x" * 1025])
def test_what_is_no_key(raw: bytes) -> None:
    with pytest.raises(S3Error):
        check_key(raw)


@pytest.mark.parametrize("name", ["abc", "a-b", "a.b.c", "1a2", "x" * 63])
def test_bucket_names(name: str) -> None:
    assert valid_bucket(name)


@pytest.mark.parametrize(
    "name", ["", "ab", "A-b", "a..b", ".ab", "ab.", "-ab", "ab-", "a_b", "x" * 64, "a/b", "abc\n", "ä-b"]
)
def test_no_bucket_names(name: str) -> None:
    assert not valid_bucket(name)


def expected(keys: list[str], prefix: str, delimiter: str, after: str) -> list[str]:
    """What S3 lists, by its own words: keys and common prefixes, in byte order, after `after`."""
    found: set[str] = set()
    for key in keys:
        if not key.startswith(prefix):
            continue
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        found.add(key[: end + len(delimiter)] if end >= 0 else key)
    return sorted((each for each in found if each.encode() > after.encode()), key=str.encode)


@settings(max_examples=50, deadline=None)
@given(
    keys=st.lists(KEYS, unique=True, max_size=12),
    prefix=st.one_of(st.just(""), SPARSE),
    delimiter=st.sampled_from(["", "/", "-", "a", "a/"]),
    limit=st.sampled_from([1, 2, 3, 1000]),
)
def test_listings_equal_the_model(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str], prefix: str, delimiter: str, limit: int
) -> None:
    folder = Folder(tmp_path_factory.mktemp("l"), ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), 0, 1)
    bucket = folder.bucket("bucket")
    bucket.create()
    for key in keys:
        with FileWriter(bucket.temporary) as writer:
            writer.write([key.encode()])
            facts = ObjectFacts(size=len(key.encode()), etag="e", modified=1, content_type="a/b")
            writer.commit(Path(bucket.path_of(key)), facts)
    listed: list[str] = []
    after, pages = "", 0
    while True:
        page: ListingPage = list_page(bucket, prefix, delimiter, after, limit)
        here = sorted([*(key for key, _ in page.objects), *page.prefixes], key=str.encode)
        assert len(here) <= limit
        assert all(facts.size == len(key.encode()) for key, facts in page.objects)
        listed += here
        pages += 1
        if page.next_after is None:
            break
        assert page.next_after == here[-1]
        after = page.next_after
    assert listed == expected(keys, prefix, delimiter, "")
    assert pages == max(1, -(-len(listed) // limit))
    for key in keys:
        delete_object(Path(bucket.path_of(key)), bucket.tree)
    assert list(bucket.tree.iterdir()) == []
