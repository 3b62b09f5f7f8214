"""The check of `lapel doctor` for the endpoint in signed links, if it is another one than the server uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from lapel.cli.doctor.checks import Finding
from lapel.cli.shared.http_client import NoAnswer, answered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lapel.settings import Settings

_SECONDS = 3.0


async def public_endpoint(settings: Settings) -> AsyncIterator[Finding]:
    """Whether LAPEL_S3_PUBLIC_ENDPOINT answers. Only a warning, because other machines may reach it."""
    url = settings.s3_public_endpoint
    if url is None or settings.uses_embedded_store:
        return
    where = f"they name LAPEL_S3_PUBLIC_ENDPOINT, {url}"
    try:
        status = await _status(url)
    except NoAnswer as fault:
        fails = str(fault)
    else:
        if status < 500:  # a store refuses a call without a signature
            yield Finding("links", "ok", where)
            return
        fails = f"it answers {status}"
    yield Finding(
        "links",
        "warning",
        f"{where}, which is not reached from this machine: {fails}",
        "Check the URL, its name in DNS, its certificate and the proxy there: clients upload and download "
        "through it. If only clients are meant to reach it, run `curl` with this URL where they are.",
    )


async def _status(url: str) -> int:
    with answered(url):
        patience = aiohttp.ClientTimeout(total=_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=patience) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            return response.status
