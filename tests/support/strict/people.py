"""End users (section 7), keys, audit log, ledger and usage (section 18), health (section 17)."""

from __future__ import annotations

from tests.support.strict.shapes import (
    identifier,
    integer,
    metadata,
    null_or,
    number,
    record,
    text,
    time,
    word,
)

END_USER = record(
    {
        "id": identifier("eu"),
        "external_id": null_or(text(1, 255)),
        "name": null_or(text(0, 255)),
        "email": null_or(text(0, 255)),
        "metadata": metadata,
        "project_id": identifier("proj"),
        "created_at": time,
        "updated_at": time,
        "deleted_at": null_or(time),
    }
)
END_USER_TOKEN = record(
    {
        "token": text(pattern=r"eut_[A-Za-z0-9]+"),
        "expires_at": null_or(time),
        "connection_command": text(1, 8192),
    }
)
USAGE = record(
    {
        "project_id": identifier("proj"),
        "end_users": integer(),
        "devices": integer(),
        "recordings": integer(),
        "media_bytes": integer(),
        "transcribed_today": record(
            {"duration_ms": integer(), "limit_ms": null_or(integer(1)), "resets_at": time}
        ),
        "language_models_today": record(
            {
                "calls": integer(),
                "input_tokens": integer(),
                "output_tokens": integer(),
                "cached_tokens": integer(),
                "limit_tokens": null_or(integer(1)),
                "cost_usd": number(0, 10**12),
                "resets_at": time,
            }
        ),
    }
)
HEALTHY = record(
    {"status": word("healthy"), "database": word("connected"), "billing": word("disabled")},
)
UNHEALTHY = record(
    {"status": word("unhealthy"), "database": word("disconnected"), "billing": word("disabled")},
)
