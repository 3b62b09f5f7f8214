"""Values that are sealed in rows, and how they get under the present secret after it was changed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from lapel.foundation.identity.seal import SealBroken

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.seal import Sealer


class SealedValue(NamedTuple):
    """A value with the context under which it is sealed.

    `replace` stores other sealed bytes for it, unless its row has changed since it was read.
    """

    sealed: bytes
    context: bytes
    replace: Callable[[Connection, bytes], Awaitable[None]]

    def is_readable(self, sealer: Sealer) -> bool:
        """Whether the sealer opens it."""
        try:
            sealer.open(self.sealed, self.context)
        except SealBroken:
            return False
        return True


WalkSealed: TypeAlias = "Callable[[Connection, int], AsyncGenerator[list[SealedValue]]]"
"""Reads all values of one kind, so many rows in each batch. Rows may change between two batches."""


class Resealed(NamedTuple):
    """How many values were sealed again, and how many no loaded secret opens."""

    resealed: int
    unreadable: int


async def reseal(
    connection: Connection, sealer: Sealer, batches: AsyncIterable[list[SealedValue]]
) -> Resealed:
    """Seal the values under the present secret, each batch in a transaction of its own, so that no row is
    locked for long. Values that cannot be opened stay as they are."""
    resealed = unreadable = 0
    async for batch in batches:
        async with connection.transaction():
            for value in batch:
                try:
                    sealed = sealer.seal_again(value.sealed, value.context)
                except SealBroken:
                    unreadable += 1
                    continue
                if sealed is not None:
                    await value.replace(connection, sealed)
                    resealed += 1
    return Resealed(resealed, unreadable)
