"""Finds the previous secrets of webhooks that are not valid any more."""

from lapel.foundation.database.migrations import build_index

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    build_index(
        "webhooks_previous_secrets",
        "webhooks (previous_secret_until) WHERE sealed_previous_secret IS NOT NULL",
    )
