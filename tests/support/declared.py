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
from lapel.foundation.identity.key_cache import Revocations
from lapel.foundation.openapi.document import document
from lapel.foundation.ports import Ports, credential_source
from lapel.foundation.storage.client import open_store
from lapel.foundation.storage.links import links_for
from lapel.settings import Settings


@cache
def declared_operations() -> tuple[Operation, ...]:
    """All operations, in the order of the application."""
    return app.open_services(_closed_ports()).operations


@cache
def described_api() -> dict[str, Any]:
    """The OpenAPI document of all operations."""
    return document(declared_operations(), server_url="http://127.0.0.1")


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
        links=links_for(settings, credentials),
        disk=None,
    )
