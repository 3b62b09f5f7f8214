"""The signed links of the API's answers: computed here, without a request to the store.

A link is valid for the requested time, or until the credentials that signed it end, if that is sooner. A
client must send the headers that its PUT link signs; `presign.py` determines these headers, and names the
sources.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.storage.presign import Presigner

if TYPE_CHECKING:
    from lapel.foundation.storage.credentials import CredentialSource
    from lapel.settings import Settings


class Link(msgspec.Struct, frozen=True):
    """A link that GETs one object until `expires_at`, a time in the form of answers; `expires_in` is the same
    time, in whole seconds from now."""

    url: str
    expires_at: str
    expires_in: int


class PutLink(msgspec.Struct, frozen=True):
    """A link that PUTs one object until `expires_at`, and the headers that must be sent with it."""

    url: str
    headers: dict[str, str]
    expires_at: datetime
    expires_in: int


class Links:
    """Signs links for the endpoint under which clients reach the store."""

    def __init__(self, presigner: Presigner) -> None:
        self._presigner = presigner

    def get(
        self,
        key: str,
        *,
        now: datetime,
        expires_in: int,
        content_type: str,
        disposition: str,
    ) -> Link:
        """A link to read `key`, answered with this Content-Type and Content-Disposition.

        `expires_in` is 1–604800 s from `now`. Raises StoreUnavailable without valid credentials, ValueError
        for another `expires_in`.
        """
        url = self._presigner.get_url(
            key,
            now=now,
            expires_in=expires_in,
            response_content_type=content_type,
            response_content_disposition=disposition,
        )
        life = self._presigner.lifetime(now, expires_in)
        return Link(url, life.shown, life.seconds)

    def put(
        self,
        key: str,
        *,
        now: datetime,
        expires_in: int,
        content_type: str,
        content_length: int | None = None,
        sha256: str | None = None,
        marker: str | None = None,
    ) -> PutLink:
        """A link to write `key`. Signed are the type and, if given, size (bytes) and SHA-256 (hexadecimal).

        `marker`: makes the link differ from other links of the same second.

        `expires_in` is 1–604800 s from `now`. Raises StoreUnavailable without valid credentials, ValueError
        for another `expires_in` and for a malformed `sha256`.
        """
        signed = self._presigner.put_url(
            key,
            now=now,
            expires_in=expires_in,
            content_type=content_type,
            content_length=content_length,
            sha256=sha256,
            marker=marker,
        )
        life = self._presigner.lifetime(now, expires_in)
        return PutLink(signed.url, signed.headers, life.ends, life.seconds)


def links_for(settings: Settings, credentials: CredentialSource) -> Links:
    """The links of this installation: public endpoint, bucket and region as set."""
    return Links(
        Presigner(
            settings.store_url,
            region=settings.s3_region,
            bucket=settings.s3_bucket,
            credentials=credentials,
            addressing="path" if settings.uses_embedded_store else settings.s3_addressing,
        )
    )
