"""A world has one webhook for each URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yarl import URL

from lapel.foundation.core.errors import ResourceAlreadyExists

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_new(url: str, others: Mapping[str, str]) -> None:
    """Raises ResourceAlreadyExists when another webhook has this URL, perhaps written in another way.

    Webhooks of earlier versions may share a URL; they stay as they are.
    """
    wanted = _normalize(url)
    found = next((each for each, taken in others.items() if _normalize(taken) == wanted), None)
    if found is not None:
        raise ResourceAlreadyExists(
            "This world has a webhook with this URL. Change its `events` with PATCH, or delete it.",
            param="url",
            resource_id=found,
        )


def _normalize(url: str) -> str:
    """The URL as it is called: `https://Example.com:443` is `https://example.com/`.

    A stored URL that cannot be parsed, because an earlier version accepted it, stays as it is.
    """
    try:
        parsed = URL(url)
        return f"{parsed.origin()}{parsed.raw_path_qs}"
    except ValueError:
        return url
