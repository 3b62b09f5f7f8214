"""The preview of retention over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes
from lapel.slices.retention.wire import RetentionPreview, RetentionPreviewQuery

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.retention.service import Retention

# The preview shows recordings, and the overrides that decide about them.
_READ = Access("recordings:read", end_user_keys="filter", more_scopes=("config:read",))


def operations(service: Retention) -> tuple[Operation, ...]:
    """Every route of retention."""
    retention = Routes("Administration", read=_READ, write=_READ)
    return (
        retention.get(
            "/v1/retention/preview", "preview_retention", RetentionPreview, RetentionPreviewQuery
        ).plain(
            "Preview what retention erases",
            lambda call: service.previews.read(call.actor, call.query),
            "The recordings and audio that fall due until `before`, by the section `retention` of the "
            "configuration and the legal holds of this moment. They are erased within a day of "
            "`falls_due_at`, or after the release of their last hold. If the audio of a recording falls due "
            "before the recording itself, the list has both.",
        ),
    )
