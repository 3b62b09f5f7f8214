"""Every operation of the API, built on services that are never called: no server is needed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from lapel import app
from lapel.foundation.core.clock import SystemClock
from lapel.foundation.core.ids import TimeOrderedIds
from lapel.foundation.database.pool import Database
from lapel.foundation.http.operations import Operation
from lapel.foundation.identity import seal, signing
from lapel.foundation.identity.authenticator import Authenticator
from lapel.foundation.identity.key_cache import Revocations
from lapel.foundation.ports import Ports, credential_source
from lapel.foundation.slices import Services, Slice, described
from lapel.foundation.storage.client import open_store
from lapel.foundation.storage.links import links_for
from lapel.foundation.storage.streams import streams_for
from lapel.settings import Settings


@cache
def declared_operations() -> tuple[Operation, ...]:
    """All operations, in the order of the application."""
    return declared_services().operations


@cache
def declared_services(more: tuple[Slice, ...] = ()) -> Services:
    """All services, of the application's slices and of `more`."""
    return app.open_services(_closed_ports(), (*app.SLICES, *more))


TOKEN_KINDS = tuple(kind for each in app.SLICES for kind in each.token_kinds)
TOKEN_PREFIXES = tuple(prefix for kind in TOKEN_KINDS for prefix in kind.prefixes)
ID_PREFIXES = tuple(prefix for each in app.SLICES for prefix in each.ids.values())


def authenticator(ports: Ports) -> Authenticator:
    """The application's authenticator; it notes no use of keys."""
    scopes = [scope for each in app.SLICES for scope in each.scopes]
    return Authenticator(
        ports.database,
        ports.clock,
        ports.hasher,
        ports.revocations,
        lambda *_: None,
        kinds=TOKEN_KINDS,
        scopes=scopes,
    )


@cache
def described_api() -> dict[str, Any]:
    """The OpenAPI document of all operations."""
    return described(declared_services())


def _closed_ports() -> Ports:
    """Ports of the real parts, none of them opened."""
    secret = "a-secret-for-tests-that-is-long-enough"
    settings = Settings.from_env(
        {
            "LAPEL_DATA_DIR": str(Path(__file__).parent),
            "LAPEL_DATABASE_URL": "postgresql://localhost/nowhere",
            "LAPEL_S3_ENDPOINT": "http://127.0.0.1:9/store",
            "LAPEL_S3_ACCESS_KEY_ID": "key",
            "LAPEL_S3_SECRET_ACCESS_KEY": "secret",
            "LAPEL_SECRET": secret,
        }
    )
    clock = SystemClock()
    database = Database("postgresql://localhost/nowhere")
    credentials = credential_source(settings, clock)
    return Ports(
        settings=settings,
        database=database,
        clock=clock,
        ids=TimeOrderedIds(clock),
        hasher=seal.token_hasher(secret, None),
        sealer=seal.sealer(secret, None),
        signer=signing.signer(secret, None),
        revocations=Revocations(database),
        store=open_store(settings, credentials),
        streams=streams_for(settings, credentials),
        links=links_for(settings, credentials),
        disk=None,
    )
