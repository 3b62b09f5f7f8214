"""What the commands about events share: the filter of types, and the part of an event that they read."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from cyclopts import Parameter

from lapel.slices.webhooks.registration.event_checks import SCOPE_OF_RESOURCE

Types: TypeAlias = Annotated[
    str | None,
    Parameter(help="Only events of these types, with commas between them, such as 'recording.*,ota.failed'."),
]

# With these scopes a key may read every event.
EVENT_SCOPES = sorted({"webhooks:read", *SCOPE_OF_RESOURCE.values()})


class EventHead(msgspec.Struct, frozen=True):
    """The part of an event that every type has."""

    id: str
    type: str
    created_at: str
    data: msgspec.Raw
