"""What the store says of an object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object in a listing or a HEAD; `size` is in bytes. `etag`: of this version, if the store has one."""

    key: str
    size: int
    last_modified: datetime
    etag: str | None = None
