"""The export of an end user over HTTP.

A key needs the scopes for everything that the zip may contain. A key that is scoped to one end user may
export this end user, without the audit log, which such a key may not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes
from lapel.slices.end_user_exports.service import MEDIA_TYPE

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.end_user_exports.service import EndUserExports

_SCOPES = (
    "recordings:read",
    "transcriptions:read",
    "summaries:read",
    "ask:read",
    "devices:read",
    "config:read",
    "audit:read",
)
_EXPORT = Access("end_users:read", end_user_keys="filter", more_scopes=_SCOPES)


def operations(service: EndUserExports) -> tuple[Operation, ...]:
    """The route of exports."""
    end_users = Routes("End users", read=_EXPORT, write=_EXPORT)
    return (
        end_users.post("/v1/end-users/{end_user_id}/export", "export_end_user", bytes).content(
            "Export all data of an end user",
            lambda call: service.export(call.actor, call.id),
            "A zip with everything that Lapel keeps about the end user, without secrets and legal holds: "
            "their fields, keys, configuration, devices, commands, diagnostics, events, recordings with "
            "all media, transcriptions, summaries, Ask sessions with their messages, and audit log (a key "
            "that is scoped to the end user gets no audit log). `README.txt` says what each file is. It is "
            "made while it is sent, so it has no `Content-Length`. Its last file is `manifest.json`, with "
            "the SHA-256 of every other file, and with the data that is missing and the reason, for "
            "example because it was deleted meanwhile. If the server fails, it breaks the answer off "
            "before the end of the zip, so that no program opens it. Each export is in the audit log.",
            answer="file",
            file_types=(MEDIA_TYPE,),
            sized=lambda call: service.room(call.actor, call.id),
            audit="end_user.exported",
        ),
    )
