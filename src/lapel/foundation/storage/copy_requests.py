"""HTTP requests to the store that obstore cannot send.

This module imports much, so hashed_copies.py imports it late.
"""

from __future__ import annotations

import aiohttp
from yarl import URL

from lapel.foundation.storage.errors import StoreUnavailable

_CONNECT = 3.0  # seconds
# A store copies a large object by reading and writing it, which takes minutes on a slow store.
_COPY = 900.0
_MOST_OF_AN_ANSWER = 64 * 1024


class CopyRequests:
    """Sends requests without a body. Connections stay open until `close`. Made in a running event loop."""

    def __init__(self) -> None:
        limits = aiohttp.ClientTimeout(total=_COPY, sock_connect=_CONNECT)
        # Proxies of the environment count, as for all other requests to the store.
        self._session = aiohttp.ClientSession(timeout=limits, trust_env=True)

    async def put(self, url: str, headers: dict[str, str]) -> tuple[int, str]:
        """The status and the text of the answer to a PUT. Raises StoreUnavailable when there is none."""
        asked = self._session.put(
            URL(url, encoded=True), headers=headers, skip_auto_headers=("Content-Type",)
        )
        try:
            async with asked as answer:
                body = await answer.content.read(_MOST_OF_AN_ANSWER)
                return answer.status, body.decode("utf-8", "replace")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise StoreUnavailable(f"{type(error).__name__} at a copy: {error}") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
