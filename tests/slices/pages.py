"""What the documentation has to tell of slices."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from lapel.foundation.core.errors import ApiError
from lapel.foundation.core.rate_limit import RateLimit
from lapel.foundation.slices import Slice
from tests.support.statements import modules


def errors_of(slices: Sequence[Slice]) -> set[tuple[int, str]]:
    """(status, code) of every error that clients see: the foundation's and those of the slices."""
    own = [each for each in every_error() if each.__module__.startswith("lapel.foundation.")]
    declared = [error for each in slices for error in each.errors]
    return {(each.status, each.code) for each in (*own, *declared)}


@cache
def every_error() -> frozenset[type[ApiError]]:
    """Every error class of the package, wherever it is defined."""
    for name in modules():
        importlib.import_module(name)
    return frozenset(each for each in _below(ApiError) if each.__module__.startswith("lapel."))


def _below(error: type[ApiError]) -> Iterator[type[ApiError]]:
    for each in error.__subclasses__():
        yield each
        yield from _below(each)


def limits_of(slices: Sequence[Slice]) -> list[RateLimit]:
    """The rate limits of some operations, and those of each holder of a kind of token."""
    return [
        limit
        for each in slices
        for limit in (*each.buckets, *(kind.bucket for kind in each.token_kinds))
        if limit is not None
    ]


def page_of(slices: Sequence[Slice]) -> list[str]:
    """The lines of the table in docs/slices.md."""
    return list(_lines(slices))


def _lines(slices: Sequence[Slice]) -> Iterator[str]:
    yield "| slice | scopes | ids | tokens | errors | rate limits | tables | events |"
    yield "|---|---|---|---|---|---|---|---|"
    for each in slices:
        cells = (
            each.scopes,
            [f"{prefix}_" for prefix in each.ids.values()],
            [f"{prefix}_" for kind in each.token_kinds for prefix in kind.prefixes],
            [error.code for error in each.errors],
            [limit.name for limit in limits_of([each])],
            [table.name for table in each.tables],
            each.events,
        )
        yield f"| {each.name} | {' | '.join(map(_cell, cells))} |"


def _cell(nouns: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in nouns)
