"""Rules between settings: which of them need, or exclude, one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lapel.settings import Settings


def contradiction(s: Settings) -> str | None:
    """The first conflict between settings that are each valid, and its remedy; None when there is none."""
    alone = s.role in {"api", "worker"}
    faults = (
        (
            (s.tls_cert is None) != (s.tls_key is None),
            "LAPEL_TLS_CERT and LAPEL_TLS_KEY belong together: one is set and the other is not; set both.",
        ),
        (
            (s.s3_access_key_id is None) != (s.s3_secret_access_key is None),
            (
                "LAPEL_S3_ACCESS_KEY_ID and LAPEL_S3_SECRET_ACCESS_KEY belong together: one is set and the "
                "other is not; set both."
            ),
        ),
        (
            s.s3_public_endpoint is not None and s.s3_endpoint is None,
            (
                "LAPEL_S3_PUBLIC_ENDPOINT is set without LAPEL_S3_ENDPOINT; set the endpoint, or for the "
                "embedded store LAPEL_STORE_PUBLIC_URL."
            ),
        ),
        (
            s.s3_access_key_id is not None and s.s3_endpoint is None and s.role != "store",
            (
                "LAPEL_S3_ACCESS_KEY_ID is set without LAPEL_S3_ENDPOINT; set the endpoint too, for AWS such "
                "as https://s3.eu-west-1.amazonaws.com."
            ),
        ),
        (
            s.listen_database_url is not None and s.database_url is None,
            "LAPEL_LISTEN_DATABASE_URL is set without LAPEL_DATABASE_URL; set both or neither.",
        ),
        (
            alone and s.database_url is None,
            f"LAPEL_ROLE = {s.role} runs without the embedded database; let LAPEL_DATABASE_URL name one.",
        ),
        (
            alone and s.s3_endpoint is None,
            f"LAPEL_ROLE = {s.role} runs without the embedded store; let LAPEL_S3_ENDPOINT name one.",
        ),
        (
            s.role == "store" and s.s3_access_key_id is None,
            (
                "LAPEL_ROLE = store needs LAPEL_S3_ACCESS_KEY_ID and LAPEL_S3_SECRET_ACCESS_KEY: the keys "
                "that it will accept."
            ),
        ),
        (
            s.database_url is not None and s.secret is None and s.role != "store",
            (
                "LAPEL_SECRET is not set, but LAPEL_DATABASE_URL is; give every machine the same secret of "
                "at least 32 characters, for instance from `openssl rand -base64 32`."
            ),
        ),
    )
    return next((sentence for wrong, sentence in faults if wrong), None)
