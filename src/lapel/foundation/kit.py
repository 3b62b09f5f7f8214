"""What every slice's service is built on: the outside world as arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lapel.foundation.clock import Clock
    from lapel.foundation.database import Database
    from lapel.foundation.ids import Ids
    from lapel.foundation.revocation import Revocations
    from lapel.foundation.seal import Sealer
    from lapel.foundation.storage.links import Links
    from lapel.foundation.storage.store import ObjectStore
    from lapel.foundation.tokens import TokenHasher
    from lapel.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """Made once per process (`app.py`, the worker, a command); tests make their own."""

    settings: Settings
    database: Database
    clock: Clock
    ids: Ids
    hasher: TokenHasher
    sealer: Sealer
    revocations: Revocations
    store: ObjectStore
    links: Links
