"""Finds keys and tokens in the database that do not work, because their secret is not loaded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg

from lapel.cli.doctor.checks import Finding
from lapel.cli.shared import queries
from lapel.cli.shared.options import say
from lapel.foundation.identity.seal import secret_id
from lapel.slices.encrypted_uploads.signing import signing_key_queries
from lapel.slices.encrypted_uploads.signing.signing_keys import can_open

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.seal import Sealer
    from lapel.foundation.ports import Ports
    from lapel.settings import Settings

# The most signing keys that a finding names.
_NAMED = 3
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


async def signing_keys(connection: Connection, sealer: Sealer) -> AsyncIterator[Finding]:
    """Whether the secret decrypts the keys that sign for devices; nothing when there are no keys."""
    rows = await signing_key_queries.list_sealed_keys(connection)
    lost = [f"{row.key_id} of {row.project_id}" for row in rows if not can_open(sealer, row)]
    if lost:
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        yield Finding(
            "signing keys",
            "broken",
            f"keys sealed under another secret: {', '.join(lost[:_NAMED])}{more}",
            "Set LAPEL_SECRET_PREVIOUS to the former secret and run `lapel signing-keys reseal`, or replace "
            "the keys: `lapel signing-keys rotate`. Devices need the new public keys then.",
        )
    elif rows:
        yield Finding("signing keys", "ok", f"keys that can be read: {len(rows)}")


async def warn_of_other_secrets(ports: Ports) -> None:
    """Warns when the database has keys that were made under another secret than that of this command.

    If this command's secret is not the server's, the server cannot use keys that this command makes, and
    refuses keys that this command lists as active.
    """
    async with ports.database.acquire() as connection:
        lost = await unusable(connection, ports.settings)
    if lost is not None:
        say(
            f"Warning: the database has keys or tokens {lost}. A server with the secret of this command "
            "refuses them, and a server with their secret refuses keys that this command makes. Give the "
            "command the LAPEL_SECRET and LAPEL_SECRET_PREVIOUS of the server."
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
