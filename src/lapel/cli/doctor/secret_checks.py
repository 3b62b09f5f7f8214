"""Finds keys and tokens in the database that do not work, because their secret is not loaded."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from lapel.cli.doctor.checks import Finding
from lapel.cli.shared import queries
from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.options import say
from lapel.foundation.identity.installation_secret import (
    accepted_secrets,
    find_fingerprint,
    loaded_secrets,
    record_fingerprint,
    take_turn,
)
from lapel.foundation.identity.kept_peppers import former_peppers, keep_peppers
from lapel.foundation.identity.seal import SealBroken, Sealer, sealer, secret_id
from lapel.slices.encrypted_uploads.sessions.issuance import walk_sealed_recipient_keys
from lapel.slices.encrypted_uploads.signing import signing_key_queries
from lapel.slices.encrypted_uploads.signing.signing_keys import opened_key, walk_sealed_signing_keys
from lapel.slices.providers.slots.slots import walk_sealed_keys
from lapel.slices.webhooks.signing_secrets import walk_sealed_secrets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.sealed_values import SealedValue, WalkSealed
    from lapel.foundation.ports import Ports
    from lapel.settings import Settings

# Everything that is sealed for longer than a day, by what `lapel secrets reseal` calls it.
SEALED: Mapping[str, WalkSealed] = {
    "provider keys": walk_sealed_keys,
    "secrets of webhooks": walk_sealed_secrets,
    "signing keys": walk_sealed_signing_keys,
    "keys of encrypted uploads": walk_sealed_recipient_keys,
}
# Rows that are read at once; a server may have any number of them.
BATCH = 1000
# The most rows that a finding names.
_NAMED = 3
_Row = TypeVar("_Row")
REMEDY = (
    "Set LAPEL_SECRET_PREVIOUS to the secret that they were made under, or replace them: "
    "`lapel keys create` makes a key, and binding a device again gives it a token."
)

_KEEP_PREVIOUS = (
    "When all machines have the new secret, run `lapel secrets reseal`. Until then, keep "
    "LAPEL_SECRET_PREVIOUS, and do not change the secret again."
)


async def secrets(connection: Connection, settings: Settings) -> Finding:
    """The finding of `lapel doctor` about secrets.

    An old secret that is not loaded is only a warning: the operator may have left it out on purpose.
    """
    if (told := await other_secret(connection, settings)) is not None:
        return Finding("secret", "broken", told)
    if (lost := await unusable(connection, settings)) is not None:
        return Finding("secret", "warning", lost, REMEDY)
    loaded = "present and previous" if settings.secret_previous else "present"
    return Finding("secret", "ok", f"{loaded} secret loaded; no key or token needs another")


async def unusable(connection: Connection, settings: Settings) -> str | None:
    """A sentence about keys and tokens whose secret is not loaded; None when there are none.

    Keys and tokens made before schema 0009 do not name their secret, and are not counted.
    """
    kept = await former_peppers(connection, _sealer_of(settings))
    counted = await queries.made_under_others(connection, [*loaded_secrets(settings), *kept])
    found = [f"{each.kind} ({each.others})" for each in counted if each.others]
    return f"made under a secret that is not loaded: {', '.join(found)}" if found else None


async def other_secret(connection: Connection, settings: Settings) -> str | None:
    """A sentence if the secret is not the one of this installation; None if it is, or none is known yet.

    In a database without a fingerprint, from before schema 0052, the secret is the installation's if it opens
    anything of what is there: keys and tokens that name their secret, or else what is sealed.
    """
    loaded, recorded = loaded_secrets(settings), await find_fingerprint(connection)
    if recorded is not None:
        return None if recorded in loaded else _told(settings)
    counted = await queries.made_under_others(connection, loaded)
    if any(each.loaded for each in counted):
        return None
    opener = _sealer_of(settings)
    sealed = readable = 0
    async for each in _walk_sealed(connection):
        sealed += 1
        readable += each.is_readable(opener)
    is_another = not readable if sealed else any(each.others for each in counted)
    return _told(settings) if is_another else None


def check_secret(settings: Settings, *, replaces: bool = False) -> None:
    """Compare the secret with the fingerprint in the database, and record the fingerprint of the present one.

    `replaces`: the secret may be another one than that of the installation.

    Raises CommandError when it is another one, and asyncpg's errors when the database cannot be reached.
    """

    async def compare() -> None:
        connection = await asyncpg.connect(settings.database_url, timeout=10)
        try:
            async with connection.transaction():
                await take_turn(connection)
                if not replaces and (told := await other_secret(connection, settings)) is not None:
                    raise CommandError(told)
                now = datetime.now(UTC)
                await record_fingerprint(connection, loaded_secrets(settings)[0], now)
                await keep_peppers(connection, _sealer_of(settings), accepted_secrets(settings), now)
        finally:
            await connection.close()

    asyncio.run(compare())


def _sealer_of(settings: Settings) -> Sealer:
    return sealer(str(settings.secret), settings.secret_previous)


def _told(settings: Settings) -> str:
    name = "LAPEL_SECRET" if os.environ.get("LAPEL_SECRET") else str(settings.data_dir / "secret")
    return (
        f"{name} is not the secret of this installation: with it, every key would be refused. Use the secret "
        "of the other machines; after a change of the secret, set LAPEL_SECRET_PREVIOUS to the former. If "
        "the former secret is lost, run `lapel init --new-secret`."
    )


async def _walk_sealed(connection: Connection) -> AsyncGenerator[SealedValue]:
    """Everything that is sealed for the server."""
    for walk in SEALED.values():
        async for batch in walk(connection, BATCH):
            for each in batch:
                yield each


async def earlier_secrets(connection: Connection, settings: Settings) -> AsyncIterator[Finding]:
    """What was made under another secret than the present one, and what of it ends without the previous one;
    nothing if there is nothing."""
    full = _sealer_of(settings)
    present = Sealer(full.keys[:1])
    count = 0
    async for each in _walk_sealed(connection):
        count += each.is_readable(full) and not each.is_readable(present)
    if count:
        yield Finding(
            "sealed values", "warning", f"sealed under the previous secret: {count}", _KEEP_PREVIOUS
        )

    async def made_under_others_than(*loaded: str) -> int:
        return sum(each.others for each in await queries.made_under_others(connection, list(loaded)))

    own = secret_id(str(settings.secret))
    if others := await made_under_others_than(own):
        lost = await made_under_others_than(
            *loaded_secrets(settings), *await former_peppers(connection, full)
        )
        # A pepper that only the previous secret opens is of no use without it.
        hanging = await made_under_others_than(own, *await former_peppers(connection, present)) - lost
        told = (
            f"made under earlier secrets: {others}; of these, only the previous secret still serves: "
            f"{hanging}; without a kept pepper: {lost}"
        )
        remedies = [*([_KEEP_PREVIOUS] if hanging else []), *([REMEDY] if lost else [])]
        state = "warning" if remedies else "ok"
        yield Finding("keys and tokens", state, told, " ".join(remedies) or None)


async def find_unreadable(
    part: str,
    noun: str,
    batches: AsyncIterator[list[_Row]],
    open_row: Callable[[_Row], object],
    name: Callable[[_Row], str],
    remedy: str,
) -> AsyncIterator[Finding]:
    """Whether the server's secret opens all rows; nothing when there are none.

    `open_row` raises SealBroken. `noun` and `name`: what the rows are, and how each is named.
    """
    named: list[str] = []
    lost = count = 0
    async for rows in batches:
        count += len(rows)
        for row in rows:
            try:
                open_row(row)
            except SealBroken:
                lost += 1
                if lost <= _NAMED:
                    named.append(name(row))
    if lost:
        more = f" and {lost - _NAMED} more" if lost > _NAMED else ""
        told = f"{noun} sealed under another secret: {', '.join(named)}{more}"
        yield Finding(part, "broken", told, remedy)
    elif count:
        yield Finding(part, "ok", f"{noun} that can be read: {count}")


def signing_keys(connection: Connection, sealer: Sealer) -> AsyncIterator[Finding]:
    """Whether the secret decrypts the keys that sign for devices; nothing when there are no keys."""
    return find_unreadable(
        "signing keys",
        "keys",
        signing_key_queries.walk_sealed_keys(connection),
        lambda row: opened_key(sealer, row),
        lambda row: f"{row.key_id} of {row.project_id}",
        "Set LAPEL_SECRET_PREVIOUS to the former secret and run `lapel secrets reseal`, or replace "
        "the keys: `lapel signing-keys rotate`. Devices need the new public keys then.",
    )


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
