"""The cause of a deletion: its reason, and who asked for it; and the recording that is deleted."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.audit import OPERATOR
from lapel.slices.erasure.wire import Reason

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor


class Cause(msgspec.Struct, frozen=True):
    """The reason of a deletion, and the caller who asked for it.

    `kind` None: nobody knows who asked, because an older version of Lapel wrote the entry.
    """

    reason: Reason
    kind: str | None
    id: str | None


# The operator's command asks for these deletions, after a restore.
RECONCILE = Cause("reconcile", OPERATOR, None)
# The configuration asks for these deletions, and no caller.
RETENTION = Cause("retention", "system", None)


def requested_by(actor: Actor) -> Cause:
    """The cause of a deletion that a caller requests."""
    return Cause("request", actor.kind, actor.id)


class RecordingToErase(msgspec.Struct, frozen=True):
    """A recording that is deleted: its prefixes (staging, final, sealed), and the end of its last upload URL.

    `held`: a legal hold keeps its rows and objects. `media_id`: only this media is deleted.
    """

    id: str
    end_user_id: str
    prefixes: tuple[str, str, str]
    links_expire_at: datetime
    held: bool
    media_id: str | None = None
