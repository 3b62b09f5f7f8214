"""`lapel erase ID`: erase one recording or one end user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.cli.erase.eraser import Eraser
from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.options import visible
from lapel.foundation.core.errors import NotFound
from lapel.foundation.database.audit import OPERATOR
from lapel.slices.end_users.service import EndUsers
from lapel.slices.erasure.service import Cause
from lapel.slices.erasure.wire import State
from lapel.slices.recordings.service import Recordings

if TYPE_CHECKING:
    from lapel.foundation.slices import Services

_BY_OPERATOR = Cause("request", OPERATOR, None)


class ErasedOne(msgspec.Struct, frozen=True):
    """What `--json` prints: the resource, and the state of its entry in the ledger."""

    resource_id: str
    state: State


async def erase_one(services: Services, resource_id: str, *, yes: bool) -> ErasedOne:
    """Erase a recording (`rec_…`) or an end user (`eu_…`) of any world.

    Raises CommandError when there is no such resource, and without `yes`; and what `Eraser` raises.
    """
    is_end_user = resource_id.startswith("eu_")
    if is_end_user:
        world_id = await _world_of_end_user(services, resource_id)
    else:
        world_id = await services[Recordings].deletion.find_world(resource_id)
    if world_id is None:
        raise CommandError(
            f"there is no recording and no end user {visible(resource_id)!r}; perhaps it is erased already: "
            "GET /v1/erasures shows it."
        )
    if not yes:
        what = "the end user and all its recordings" if is_end_user else "the recording"
        raise CommandError(
            f"this erases {what} {resource_id} for good, and nothing was erased yet; repeat it with --yes."
        )
    eraser = Eraser(services, _BY_OPERATOR)
    try:
        state = await (eraser.end_user if is_end_user else eraser.recording)(world_id, resource_id)
    except NotFound as fault:
        raise CommandError(f"{resource_id} was deleted by another request meanwhile.") from fault
    return ErasedOne(resource_id, state or "open")


def sentence(done: ErasedOne) -> str:
    """The result for people."""
    match done.state:
        case "held":
            return f"{done.resource_id} is hidden; a legal hold keeps its data until you release the hold"
        case "open":
            return f"{done.resource_id} is deleted; a worker erases the objects that remain"
        case "erased" | "closed":
            return f"{done.resource_id} is erased"


async def _world_of_end_user(services: Services, end_user_id: str) -> int | None:
    try:
        return (await services[EndUsers].reader_of(end_user_id)).world_id
    except NotFound:
        return None
