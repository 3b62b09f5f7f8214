"""The cause of a deletion: its reason, and who asked for it."""

from __future__ import annotations

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
