"""Conflicts between settings that are each valid: two that belong together, or one that another one needs."""

from __future__ import annotations

from collections.abc import Collection


def contradiction(given: Collection[str], role: str) -> str | None:
    """The first conflict between settings that are each valid, and its remedy; None without a conflict.

    `given`: the settings that have a value.
    """
    alone = role in {"api", "worker"}
    faults = (
        (
            ("tls_cert" not in given) != ("tls_key" not in given),
            "LAPEL_TLS_CERT and LAPEL_TLS_KEY belong together: one is set and the other is not; set both.",
        ),
        (
            ("s3_access_key_id" not in given) != ("s3_secret_access_key" not in given),
            (
                "LAPEL_S3_ACCESS_KEY_ID and LAPEL_S3_SECRET_ACCESS_KEY belong together: one is set and the "
                "other is not; set both."
            ),
        ),
        (
            "s3_public_endpoint" in given and "s3_endpoint" not in given,
            (
                "LAPEL_S3_PUBLIC_ENDPOINT is set without LAPEL_S3_ENDPOINT; set the endpoint. For the "
                "embedded store, set LAPEL_STORE_PUBLIC_URL instead."
            ),
        ),
        (
            "s3_access_key_id" in given and "s3_endpoint" not in given and role != "store",
            (
                "LAPEL_S3_ACCESS_KEY_ID is set without LAPEL_S3_ENDPOINT; set the endpoint too: for AWS, a "
                "URL such as https://s3.eu-west-1.amazonaws.com."
            ),
        ),
        (
            "listen_database_url" in given and "database_url" not in given,
            "LAPEL_LISTEN_DATABASE_URL is set without LAPEL_DATABASE_URL; set both or neither.",
        ),
        (
            alone and "database_url" not in given,
            f"The role {role} has no embedded database; let LAPEL_DATABASE_URL name a database.",
        ),
        (
            alone and "s3_endpoint" not in given,
            f"The role {role} has no embedded store; let LAPEL_S3_ENDPOINT name a store.",
        ),
        (
            role == "store" and "s3_access_key_id" not in given,
            (
                "The role store needs LAPEL_S3_ACCESS_KEY_ID and LAPEL_S3_SECRET_ACCESS_KEY: the keys "
                "that it will accept."
            ),
        ),
        (
            "database_url" in given and "secret" not in given and role != "store",
            (
                "LAPEL_SECRET is not set, but LAPEL_DATABASE_URL is; give every machine the same secret of "
                "at least 32 characters, for instance from `openssl rand -base64 32`."
            ),
        ),
    )
    return next((sentence for wrong, sentence in faults if wrong), None)
