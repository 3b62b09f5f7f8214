"""Names and payloads of this slice's jobs."""

from __future__ import annotations

import msgspec

PUBLISH = "encrypted-uploads.publish"


class PublishSession(msgspec.Struct, frozen=True):
    """Publish a session whose manifest was accepted: verify its staged object and store the plain audio.

    `size`: bytes of the staged object; jobs of earlier versions do not say it.
    """

    world_id: int
    session_id: str
    size: int = 0
