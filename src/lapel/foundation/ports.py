"""The dependencies of every slice's services (database, store, clock, keys), passed as arguments."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.foundation.core.clock import Clock, SystemClock
from lapel.foundation.core.disk_guard import DiskGuard
from lapel.foundation.core.ids import Ids, TimeOrderedIds
from lapel.foundation.database.pool import CONNECTIONS, Database
from lapel.foundation.database.time_limits import LOCK_SECONDS, is_pooled
from lapel.foundation.identity import seal, signing
from lapel.foundation.identity.kept_peppers import former_peppers
from lapel.foundation.identity.key_cache import Revocations
from lapel.foundation.storage.client import ObjectStore, open_store
from lapel.foundation.storage.credentials import (
    Credentials,
    CredentialSource,
    StaticCredentials,
    botocore_chain,
)
from lapel.foundation.storage.links import Links, links_for
from lapel.foundation.storage.streams import ObjectStreams, streams_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.identity.seal import Sealer
    from lapel.foundation.identity.signing import Signer
    from lapel.foundation.identity.tokens import TokenHasher
    from lapel.settings import Settings


# Seconds to wait for a database that restarts. A process that ended instead would be restarted again and
# again.
RESTART_PATIENCE = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The dependencies; one object per process (API, worker, a command). Tests make their own."""

    settings: Settings
    database: Database
    clock: Clock
    ids: Ids
    hasher: TokenHasher
    sealer: Sealer
    signer: Signer
    revocations: Revocations
    store: ObjectStore
    streams: ObjectStreams
    links: Links
    # Watches the disk of the embedded database; None with any other database.
    disk: DiskGuard | None


@asynccontextmanager
async def open_ports(
    settings: Settings,
    *,
    clock: Clock | None = None,
    patience: float = 0.0,
    connections: int = CONNECTIONS,
    lock_seconds: float = LOCK_SECONDS,
) -> AsyncGenerator[Ports]:
    """The ports of this process, open during the block.

    `settings` must be complete: database, store endpoint and secret are known. `patience`: seconds to wait
    for an unavailable database. `connections` and `lock_seconds`: see Database. Raises StoreUnavailable when
    no credentials are found, asyncpg's errors when the database is unavailable, and ValueError when the
    settings are not complete.
    """
    if settings.database_url is None or settings.secret is None or settings.s3_endpoint is None:
        raise ValueError("the database, the store and the secret must be known before ports are opened")
    clock = clock or SystemClock()
    credentials = credential_source(settings, clock)
    database = Database(
        settings.database_url, max_size=connections, lock_seconds=lock_seconds, pooled=is_pooled(settings)
    )
    await database.open(patience=patience)
    store = open_store(settings, credentials)
    revocations = Revocations(database, listen_dsn=settings.listen_database_url)
    sealer = seal.sealer(settings.secret, settings.secret_previous)
    try:
        async with database.acquire() as connection:
            former = await former_peppers(connection, sealer)
        yield Ports(
            settings=settings,
            database=database,
            clock=clock,
            ids=TimeOrderedIds(clock),
            hasher=seal.token_hasher(settings.secret, settings.secret_previous, former),
            sealer=sealer,
            signer=signing.signer(settings.secret, settings.secret_previous),
            revocations=revocations,
            store=store,
            streams=streams_for(settings, credentials),
            links=links_for(settings, credentials),
            disk=DiskGuard(settings.data_dir, settings.min_free_bytes)
            if settings.uses_embedded_database
            else None,
        )
    finally:
        await revocations.stop()
        await store.close()
        await database.close()


def credential_source(settings: Settings, clock: Clock) -> CredentialSource:
    """The access key of the settings; if they have none, the refreshed keys of the usual AWS chain.

    Raises StoreUnavailable when the chain finds no key, or botocore is not installed.
    """
    if settings.s3_access_key_id and settings.s3_secret_access_key:
        return StaticCredentials(
            Credentials(settings.s3_access_key_id, settings.s3_secret_access_key, settings.s3_session_token)
        )
    chain = botocore_chain(clock)
    chain.load()
    return chain
