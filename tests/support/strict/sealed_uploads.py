"""Sessions of encrypted uploads (the contract's own document). Nothing in them is null, or an empty text."""

from __future__ import annotations

import re

from tests.support.strict.shapes import (
    Shape,
    agrees,
    all_of,
    identifier,
    integer,
    lower_hex,
    record,
    signed_url,
    text,
    time,
    word,
)

# Clients read no more of an answer of these routes, nor of the one that announces a recording.
MOST_BYTES = 65_536
LIMITED = re.compile(r"POST /v1/recordings|[A-Z]+ /v1/recordings/[^/]+/encrypted-upload-v2/.*")

_UUID4 = text(pattern=r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_REVISION = integer(1, 2**31 - 1)
_PUBLISHED: dict[str, Shape] = {
    "published_at": time,
    "plaintext_length": integer(1),
    "completion_receipt_base64": text(pattern=r"[A-Za-z0-9+/]{448}"),  # 336 bytes
    "completion_receipt_sha256": lower_hex(64),
}
STAGING = record(
    {
        "method": word("PUT"),
        "url": signed_url,
        "headers": record(
            {
                "Content-Type": word("application/octet-stream"),
                "x-amz-checksum-sha256": text(pattern=r"[A-Za-z0-9+/]{43}="),
            }
        ),
    }
)
ACCEPTED = record(
    {
        "session_id": _UUID4,
        "owner_revision": _REVISION,
        "state": word("ready", "processing", "published"),
    }
)


def _session(more: dict[str, Shape]) -> Shape:
    return all_of(
        record(
            {
                "profile": word("encrypted_upload_v2"),
                "session_id": _UUID4,
                "owner_revision": _REVISION,
                "state": word(
                    "staging", "ready", "processing", "published", "failed", "cancelled", "expired"
                ),
                "channel": word("ble", "wifi", "cellular"),
                "policy": word("legacy_allowed", "v2_preferred", "v2_required"),
                "recording_id": identifier("rec"),
                "device_id": identifier("dev"),
                "end_user_id": identifier("eu"),
                "project_id": identifier("proj"),
                "ciphertext_length": integer(293),
                "ciphertext_sha256": lower_hex(64),
                "authorization_base64": text(pattern=r"[A-Za-z0-9+/]{544}"),  # 408 bytes
                "authorization_sha256": lower_hex(64),
                "expires_at": time,
            },
            {**_PUBLISHED, "error": record({"code": text(1), "message": text(1)}), **more},
        ),
        agrees(
            "the facts of the publication are there once it is published, all of them",
            lambda it: (
                _PUBLISHED.keys() & it.keys() == (_PUBLISHED.keys() if it["state"] == "published" else set())
            ),
        ),
        agrees("the reason is there if it failed", lambda it: ("error" in it) == (it["state"] == "failed")),
    )


SESSION = _session({})
# Of the calls that begin a session, or find the one that they began before.
BEGUN = all_of(
    _session({"staging": STAGING}),
    agrees("it can be staged", lambda it: ("staging" in it) == (it["state"] == "staging")),
)
