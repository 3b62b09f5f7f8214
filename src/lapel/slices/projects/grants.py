"""The rights of a new key."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.slices.projects.scopes import Scope
    from lapel.slices.projects.wire import Kind


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The rights of a new key, and its end."""

    kind: Kind
    scopes: Sequence[Scope]
    name: str | None
    end_user_id: str | None
    expires_at: datetime | None
