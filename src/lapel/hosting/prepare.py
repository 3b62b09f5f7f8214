"""Steps that prepare what every process needs: sockets, database, complete settings."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import socket
import ssl
import time
from collections.abc import Callable, Sequence

import structlog

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.core.clock import SystemClock
from lapel.foundation.core.errors import words_of_database
from lapel.foundation.database.schema.schema_version import (
    HAS_SCHEMA,
    SCHEMA_FOUND,
    SchemaFound,
    newest_revision,
)
from lapel.foundation.database.time_limits import (
    is_pooled,
    is_refusal_of_pooler,
    limits,
    shares_backends,
)
from lapel.foundation.storage.credentials import botocore_chain
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.hosting.data_folder import DataFolder, DataFolderError, store_credentials
from lapel.hosting.sockets import AddressInUse, listen
from lapel.setting_fields import SettingsError
from lapel.settings import Settings
from lapel.slices.language_models.local.language_weights import find
from lapel.slices.language_models.model_failures import ModelFailed

# Seconds. When a supervisor is killed, the kernel ends its children at once; on a busy machine their sockets
# close a little later.
_KILLED_ONES_END = 2.0

# Workers that may run on one machine without a port that the operator chooses.
_WORKERS_BESIDE = 64
_DATABASE_SECONDS = 10.0

Say = Callable[[str], None]

_log: structlog.stdlib.BoundLogger = structlog.get_logger("lapel.supervisor")


@dataclasses.dataclass(frozen=True, slots=True)
class Sockets:
    """Listening sockets. The supervisor keeps them open, so that clients wait while a process restarts."""

    public: Sequence[socket.socket]
    store: socket.socket | None

    def close(self) -> None:
        """Closes the sockets: from now on new connections are refused."""
        for each in (*self.public, *([self.store] if self.store else [])):
            each.close()


def with_secret(settings: Settings, folder: DataFolder | None) -> Settings:
    """The settings, with the folder's secrets in place of unset ones.

    Raises DataFolderError when a secret in the folder is missing or damaged.
    """
    if folder is None or settings.role != "all":
        return settings
    secret = folder.secret() if settings.secret is None else settings.secret
    previous = folder.secret_previous() if settings.secret_previous is None else settings.secret_previous
    return dataclasses.replace(settings, secret=secret, secret_previous=previous)


def needs_folder(settings: Settings) -> bool:
    """Whether this machine stores anything, and so needs a data folder."""
    if settings.role == "store":
        return True
    return settings.role == "all" and (settings.uses_embedded_database or settings.uses_embedded_store)


def open_sockets(settings: Settings) -> Sockets:
    """The public sockets: of the API; with the role `store` or `worker`, of that process.

    With the role `all` and the embedded store, also the store's internal socket.

    Raises AddressInUse when an address cannot be listened on.
    """
    count = settings.api_processes if settings.role in {"all", "api"} else 1
    if settings.role == "worker" and settings.port is None:
        public = _listen_on_free(settings.host, settings.first_port)
    else:
        public = _listen(settings.host, settings.first_port, count)
    internal = settings.role == "all" and settings.uses_embedded_store
    return Sockets(public, listen("127.0.0.1", 0)[0] if internal else None)


def has_language_model(settings: Settings) -> bool:
    """Whether this machine runs the local language model, for the API and the worker."""
    if settings.role == "store":
        return False
    try:
        return find(settings.language_model) is not None
    except ModelFailed as fault:  # answers fail with this message until the operator repairs it
        _log.warning("language_model.unusable", why=fault.message)
        return False


def _listen(host: str, port: int, count: int) -> list[socket.socket]:
    """`listen`, repeated while the children of a killed supervisor are still ending."""
    deadline = time.monotonic() + _KILLED_ONES_END
    while True:
        try:
            return listen(host, port, count)
        except AddressInUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _listen_on_free(host: str, first: int) -> list[socket.socket]:
    """A socket on the first free port from `first` on, as several workers of one machine need.

    Raises AddressInUse when there is none.
    """
    for port in range(first, first + _WORKERS_BESIDE):
        try:
            return listen(host, port)
        except AddressInUse as fault:
            if not isinstance(fault.__cause__, OSError) or fault.__cause__.errno != errno.EADDRINUSE:
                raise  # no port of this host can be listened on
    return listen(host, first)


def check_tls(settings: Settings) -> None:
    """Raises SettingsError when certificate and private key cannot be read or do not belong together."""
    if settings.tls_cert is None or settings.tls_key is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            settings.tls_cert, settings.tls_key
        )
    except OSError as fault:  # ssl.SSLError is one
        raise SettingsError(
            f"LAPEL_TLS_CERT ({settings.tls_cert}) and LAPEL_TLS_KEY ({settings.tls_key}) cannot be used "
            f"({fault.strerror or fault}); give PEM files of one certificate chain and its private key."
        ) from fault


def check_store_keys(settings: Settings) -> None:
    """Raises SettingsError when an S3 endpoint is set without keys, and the AWS chain finds none either."""
    if settings.uses_embedded_store or settings.s3_access_key_id is not None:
        return
    try:
        botocore_chain(SystemClock()).load()
    except StoreUnavailable as fault:
        raise SettingsError(
            f"LAPEL_S3_ENDPOINT is set without keys for it ({fault}). Set LAPEL_S3_ACCESS_KEY_ID and "
            "LAPEL_S3_SECRET_ACCESS_KEY, or provide credentials to the AWS chain."
        ) from fault


def complete(settings: Settings, database_url: str | None, store_endpoint: str | None) -> Settings:
    """The settings, completed with addresses and keys of the embedded parts; `settings.secret` must be set.

    `database_url`: of the embedded database; None if it is not used. `store_endpoint`: of the embedded store;
    None if it is not used.
    """
    changes: dict[str, object] = {}
    if database_url is not None:
        changes |= {"database_url": database_url, "embedded_database": True}
    if store_endpoint is not None:
        key_id, key = store_credentials(str(settings.secret))
        changes |= {
            "s3_endpoint": store_endpoint, "embedded_store": True, "s3_addressing": "path",
            "s3_access_key_id": key_id, "s3_secret_access_key": key, "s3_session_token": None,
        }  # fmt: skip
    return dataclasses.replace(settings, **changes)


def prepare_database(settings: Settings, folder: DataFolder | None) -> None:
    """Brings the embedded database to the newest schema; a given database must have it already.

    Raises DataFolderError when a given database has another schema or cannot be reached, and the driver's
    errors when a migration fails, or a pooler refuses the limits of a connection.
    """
    if settings.embedded_database and folder is not None:
        if folder.needs_migration():
            _bring_schema(str(settings.database_url))
        return
    if settings.role in {"all", "api", "worker"}:
        check_schema(str(settings.database_url), pooled=is_pooled(settings))
        check_listening(settings)


def _bring_schema(database_url: str) -> None:
    # Most starts need neither of the two modules.
    from lapel.foundation.database.schema.new_schema import make_schema  # noqa: PLC0415

    if not make_schema(database_url):
        from lapel.foundation.database import migrations  # noqa: PLC0415

        migrations.upgrade(database_url)


def schema_of(database_url: str, *, pooled: bool = False) -> SchemaFound | None:
    """The schema of the database; None when it has no schema of Lapel. `pooled`: the URL names a pooler.

    The connection begins as those of API and worker do, so that a pooler that refuses them is told now.
    Raises DataFolderError when the database cannot be reached, or refuses the user, and the driver's error
    when a pooler refuses the limits of the connection.
    """
    # Not needed with the embedded database.
    import asyncpg  # noqa: PLC0415

    async def ask() -> SchemaFound | None:
        connection = await asyncpg.connect(
            database_url, timeout=_DATABASE_SECONDS, server_settings=None if pooled else limits()
        )
        try:
            if not await connection.fetchval(HAS_SCHEMA):
                return None
            row = await connection.fetchrow(SCHEMA_FOUND)
            return None if row is None else SchemaFound(*row)
        finally:
            await connection.close(timeout=1.0)

    async def limited() -> SchemaFound | None:
        async with asyncio.timeout(_DATABASE_SECONDS):
            return await ask()

    try:
        return asyncio.run(limited())
    except asyncpg.InvalidAuthorizationSpecificationError as fault:  # a wrong password is one, too
        why = f"refuses the user: {words_of_database(fault)}. Correct the user and the password in the URL."
        raise DataFolderError(f"The database of LAPEL_DATABASE_URL {why}") from fault
    except asyncpg.InvalidCatalogNameError as fault:
        why = f"does not exist: {words_of_database(fault)}. Make it with `createdb`, or correct the URL."
        raise DataFolderError(f"The database of LAPEL_DATABASE_URL {why}") from fault
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as fault:
        if is_refusal_of_pooler(fault):
            raise
        why = f"cannot be reached: {words_of_database(fault)}. Check the URL and that the server accepts "
        raise DataFolderError(f"The database of LAPEL_DATABASE_URL {why}this machine.") from fault


def check_schema(database_url: str, *, pooled: bool = False) -> None:
    """Raises DataFolderError when the database cannot be used, or has a schema that this code cannot use,
    and what `schema_of` raises."""
    found, needed = schema_of(database_url, pooled=pooled), newest_revision()
    if found is None:
        raise DataFolderError(
            "The database of LAPEL_DATABASE_URL has no schema of Lapel. Run `lapel init` once: it makes the "
            "tables, the bucket and a first key."
        )
    if found.is_older:
        raise DataFolderError(
            f"The database has schema {found.revision}, and this Lapel needs {needed}. Run `lapel migrate` "
            "once."
        )
    if not found.serves:
        raise DataFolderError(
            f"The database has schema {found.revision} of a newer Lapel, on which only versions with schema "
            f"{found.oldest} or newer may run; this one knows {needed}. Use the newer one."
        )


def check_listening(settings: Settings) -> None:
    """Raises DataFolderError when the URL for LISTEN leads through a pooler of transactions.

    It would lose notifications, and end each session of a worker's queue after seconds.
    """
    # Not needed with the embedded database.
    import asyncpg  # noqa: PLC0415

    name = "LAPEL_LISTEN_DATABASE_URL" if is_pooled(settings) else "LAPEL_DATABASE_URL"
    try:
        is_shared = asyncio.run(shares_backends(str(settings.listen_database_url or settings.database_url)))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return  # the processes try again for as long as they run, and log it
    if is_shared:
        remedy = "let it" if is_pooled(settings) else "let LAPEL_LISTEN_DATABASE_URL"
        raise DataFolderError(
            f"{name} leads through PgBouncer or another pooler of transactions, which loses notifications: "
            f'{remedy} name PostgreSQL itself. See "PgBouncer" in docs/operations.md.'
        )


def embedded_postgres(settings: Settings, folder: DataFolder | None, say: Say) -> EmbeddedPostgres | None:
    """The embedded server, not started yet; None when this machine does not run it."""
    if folder is None or settings.role != "all" or settings.database_url is not None:
        return None
    # An API process and the worker hold about 20 connections each at most; the rest is for commands.
    connections = 55 + 20 * settings.api_processes
    return EmbeddedPostgres(folder.path, say=say, extra={"max_connections": str(connections)})
