"""A new embedded store, and links to it."""

from __future__ import annotations

from pathlib import Path

from lapel.embedded.s3.endpoint import StoreApp, create_store_app
from lapel.foundation.core.clock import SystemClock
from lapel.foundation.storage.credentials import Credentials, StaticCredentials
from lapel.foundation.storage.presign import Presigner


def open_store(root: Path) -> tuple[StoreApp, Presigner]:
    """A store with the bucket `recordings` in this folder, and a signer that it trusts."""
    store = create_store_app(root, {"key": "secret"}, clock=SystemClock(), buckets=["recordings"])
    signer = Presigner(
        "http://store", region="us-east-1", bucket="recordings",
        credentials=StaticCredentials(Credentials("key", "secret")),
    )  # fmt: skip
    return store, signer
