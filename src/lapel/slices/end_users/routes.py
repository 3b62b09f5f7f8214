"""End users over HTTP.

A key scoped to one end user may read that end user but not change it. Otherwise the key's holder could set
the `external_id` of another person (if no end user has it yet). When the project's server then looks up that
person by `external_id`, it finds this end user instead. The key may not issue an `eut_` token either, even if
it has all scopes that the token uses.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict, ResourceAlreadyExists
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes, created
from lapel.slices.end_users.service import READERS
from lapel.slices.end_users.wire import (
    CreateEndUser,
    EndUser,
    EndUserPage,
    EndUserQuery,
    EndUserToken,
    IssueToken,
    UpdateEndUser,
)
from lapel.slices.erasure.service import HOLDING, Hold, PlaceHold, requested_by

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.end_users.end_user_holds import EndUserHolds
    from lapel.slices.end_users.service import EndUsers

# The scopes for all that an end-user token reads. A key needs all these scopes to issue such a token, because
# a key may grant no more than it has.
END_USER_READS = (
    "recordings:read",
    "transcriptions:read",
    "summaries:read",
    "ask:read",
    "end_users:read",
    "devices:read",
)
_READ = Access("end_users:read", READERS, "filter")
_WRITE = Access("end_users:write")
_HOLD = replace(_WRITE, more_scopes=HOLDING)
_REVOKE_TOKEN = replace(_WRITE, or_scope="end_user_keys:write")
_ISSUE_TOKEN = replace(_REVOKE_TOKEN, more_scopes=END_USER_READS)
_ONE = "/v1/end-users/{end_user_id}"


def operations(service: EndUsers, holds: EndUserHolds) -> tuple[Operation, ...]:
    """All routes of end users."""
    end_users = Routes("End users", read=_READ, write=_WRITE)
    return (
        end_users.post("/v1/end-users", "create_end_user", EndUser, CreateEndUser).stored(
            "Add an end user",
            lambda call: service.create(call.connection, call.actor, call.body),
            status=201,
            errors=(ResourceAlreadyExists, Conflict),
            audit="end_user.created",
        ),
        end_users.get("/v1/end-users", "list_end_users", EndUserPage, EndUserQuery).plain(
            "List end users, newest first", lambda call: service.list(call.actor, call.query)
        ),
        end_users.get(_ONE, "get_end_user", EndUser).plain(
            "Read an end user", lambda call: service.read(call.actor, call.id)
        ),
        end_users.patch(_ONE, "update_end_user", EndUser, UpdateEndUser).plain(
            "Change an end user",
            lambda call: service.update(call.actor, call.id, call.body),
            "Absent fields stay, null clears, `metadata` is replaced as a whole.",
            errors=(ResourceAlreadyExists, Conflict),
            audit="end_user.updated",
        ),
        end_users.delete(_ONE, "delete_end_user").plain(
            "Delete an end user and all their data",
            lambda call: service.delete(call.actor.world_id, call.id, requested_by(call.actor), call.actor),
            "From this answer on, no answer shows the end user or their recordings. Their devices are "
            "unbound; their tokens and keys are revoked. A job erases the stored objects, and the erasure "
            "ledger shows when the last object is gone.",
            audit="end_user.deleted",
        ),
        end_users.post(f"{_ONE}/hold", "hold_end_user", Hold, PlaceHold, access=_HOLD).plain(
            "Place a legal hold on an end user",
            lambda call: created(holds.place(call.actor, call.id, call.body)),
            "The hold keeps the end user's own fields and all recordings, present and future. Until it is "
            "released, a deletion hides them, and erases only what else is known of the end user. An end "
            "user who has a hold keeps it with its reason: the answer is then 200.",
            status=201,
            also=(200,),
            errors=(Conflict,),
            natural=True,
            audit="hold.placed",
        ),
        end_users.delete(f"{_ONE}/hold", "release_end_user", access=_HOLD).plain(
            "Release the legal hold of an end user",
            lambda call: holds.release(call.actor, call.id),
            "Also of an end user who was deleted meanwhile. What was deleted during the hold is erased now, "
            "except recordings that have a hold of their own. A repeat is 204; an end user who never had a "
            "hold is 404.",
            errors=(Conflict,),
            natural=True,
            audit="hold.released",
        ),
        end_users.post(
            f"{_ONE}/token", "issue_end_user_token", EndUserToken, IssueToken, access=_ISSUE_TOKEN
        ).stored(
            "Issue a token for an end user's own data",
            lambda call: service.issue_token(call.connection, call.actor, call.id, call.body),
            "Only this answer shows the token. The end user's previous token stops working. The new token "
            "ends at `expires_at`, which must not be later than the time at which the issuing key expires. "
            "Without `expires_at`, the token ends after 30 days, or as many as the operator has set, and no "
            "later than that key. If `expires_at` is null, it never ends.",
            status=201,
            replay=lambda call, stored: service.issued_again(call.actor, stored),
            audit="end_user.token_issued",
        ),
        end_users.delete(f"{_ONE}/token", "revoke_end_user_token", access=_REVOKE_TOKEN).plain(
            "Revoke an end user's token",
            lambda call: service.revoke_token(call.actor, call.id),
            audit="end_user.token_revoked",
        ),
    )
