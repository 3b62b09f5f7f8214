"""A rate limit; the slice that needs it declares it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from lapel.settings import Settings


@dataclass(frozen=True, slots=True, eq=False)
class RateLimit:
    """A limit in requests per minute (0: no limit). `name` is used in the counter's keys and in metrics."""

    name: str
    per_minute: Callable[[Settings], int]
