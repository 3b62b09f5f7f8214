"""Finds keys and tokens in the database that do not work, because their secret is not loaded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg

from lapel.cli.doctor.checks import Finding
from lapel.cli.shared import queries
from lapel.foundation.identity.seal import secret_id

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.settings import Settings

REMEDY = (
    "Set LAPEL_SECRET_PREVIOUS to the secret that they were made under, or replace them: "
    "`lapel keys create` makes a key, and binding a device again gives it a token."
)


async def secrets(connection: Connection, settings: Settings) -> Finding:
    """The finding of `lapel doctor` about secrets.

    It is only a warning, because the operator may have left an old secret out on purpose.
    """
    if (lost := await unusable(connection, settings)) is not None:
        return Finding("secret", "warning", lost, REMEDY)
    loaded = "present and previous" if settings.secret_previous else "present"
    return Finding("secret", "ok", f"{loaded} secret loaded; no key or token needs another")


async def unusable(connection: Connection, settings: Settings) -> str | None:
    """A sentence about keys and tokens whose secret is not loaded; None when there are none.

    Keys and tokens made before schema 0009 do not name their secret, and are not counted.
    """
    loaded = [secret_id(each) for each in (settings.secret, settings.secret_previous) if each]
    found = [(kind, count) for kind, count in await queries.made_under_others(connection, loaded) if count]
    if not found:
        return None
    return (
        f"made under a secret that is not loaded: {', '.join(f'{kind} ({count})' for kind, count in found)}"
    )


def unusable_in(settings: Settings) -> str | None:
    """`unusable` for the database of the settings.

    Raises asyncpg's errors when the database cannot be reached.
    """

    async def ask() -> str | None:
        connection = await asyncpg.connect(settings.database_url, timeout=10)
        try:
            return await unusable(connection, settings)
        finally:
            await connection.close()

    return asyncio.run(ask())
