"""The foundation knows no slice: no table, scope, id prefix, kind of token, error or rate limit of one."""

from __future__ import annotations

from pathlib import Path

import pytest

import lapel
from lapel import app
from tests.slices.nouns import named_in, nouns_of

FOUNDATION = Path(lapel.__file__).parent / "foundation"
# What a file may name, and why.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("http/strategies/idempotency.py", "table end_users"): "an answer about an end user is erased with them",
    ("http/strategies/idempotency.py", "id prefix eu"): "an answer about an end user is erased with them",
    ("storage/object_names.py", "table media"): "the folder of verified objects",
    ("telemetry.py", "token prefix dtok"): "masks tokens in processes that load no slice, too",
    ("telemetry.py", "token prefix eut"): "masks tokens in processes that load no slice, too",
    ("telemetry.py", "token prefix rk_live"): "masks tokens in processes that load no slice, too",
    ("telemetry.py", "token prefix rk_test"): "masks tokens in processes that load no slice, too",
    ("telemetry.py", "token prefix sk_live"): "masks tokens in processes that load no slice, too",
    ("telemetry.py", "token prefix sk_test"): "masks tokens in processes that load no slice, too",
    ("telemetry.py", "token prefix up"): "masks tokens in processes that load no slice, too",
}
# Keys are the callers that have scopes: the request path treats them differently from other callers. `key` is
# also the name of other things.
EVERYWHERE = {"token kind key", "id prefix key"}


def places() -> dict[tuple[str, str], list[int]]:
    """(file, noun) to the lines where the foundation's source names it. Migrations make the tables."""
    found: dict[tuple[str, str], list[int]] = {}
    nouns = nouns_of(app.SLICES)
    for path in sorted(FOUNDATION.rglob("*.py")):
        if "migrations" not in path.parts:
            for line, noun in named_in(path.read_text(encoding="utf-8"), nouns):
                found.setdefault((path.relative_to(FOUNDATION).as_posix(), noun), []).append(line)
    return found


def test_the_foundation_names_no_noun_of_a_slice() -> None:
    wrong = [
        f"{file}:{line}: {noun}"
        for (file, noun), lines in places().items()
        for line in lines
        if (file, noun) not in EXCEPTIONS and noun not in EVERYWHERE
    ]
    assert not wrong, "\n".join(wrong)


def test_every_exception_is_one() -> None:
    assert set(EXCEPTIONS) <= set(places())


@pytest.mark.parametrize(
    ("source", "noun"),
    [
        ('FIND = "SELECT id FROM devices WHERE id = $1"', "table devices"),
        ('TABLES = ("devices",)', "table devices"),
        ('x = Access("recordings:read")', "scope recordings:read"),
        ('x = ids.new("rec")', "id prefix rec"),
        ('x = f"rec_{number}"', "id prefix rec"),
        ('x = actor.kind == "device"', "token kind device"),
        ('x = "Give a `dtok_` token."', "token prefix dtok"),
        ("raise MediaNotUploaded", "error MediaNotUploaded"),
        ("x = errors.MediaNotUploaded", "error MediaNotUploaded"),
        ('code = "media_not_uploaded"', "error media_not_uploaded"),
        ('x = Rule("upload_url")', "rate limit upload_url"),
        ('x = Lane("decode", 3)', "lane decode"),
        ('x = "device.bound"', "event device.bound"),
    ],
)
def test_each_kind_of_noun_is_noticed(source: str, noun: str) -> None:
    assert noun in {found for _, found in named_in(source, nouns_of(app.SLICES))}
