"""About the least that can answer `download-url`.

Raw ASGI, one asyncpg read, a dict of keys, our signer, msgspec.
No router, no scopes, no limits, no distinct errors, no request ids, no metrics.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import msgspec

from lapel.foundation.storage.credentials import Credentials, StaticCredentials
from lapel.foundation.storage.presign import Presigner

if TYPE_CHECKING:
    from lapel.foundation.core.asgi import Receive, Scope, Send

_FIND = """
SELECT m.object_key, m.content_type, m.file_size_bytes, m.status, r.name
FROM media m JOIN recordings r ON r.world_id = m.world_id AND r.id = m.recording_id
WHERE m.world_id = $1 AND m.recording_id = $2 AND m.id = $3
"""


class Connection(asyncpg.Connection):
    """A connection that is given back without a round trip, as Lapel's."""

    def get_reset_query(self) -> str:
        """Nothing to reset."""
        return ""


class DownloadRequest(msgspec.Struct):
    """The body of a request."""

    media_id: str
    disposition: str = "inline"
    expires_in: int = 3600


class Download(msgspec.Struct):
    """The body of an answer."""

    download_url: str
    media_id: str
    content_type: str
    file_size_bytes: int
    expires_at: datetime


class Bare:
    """The ASGI application."""

    def __init__(self) -> None:
        self._keys = {f"Bearer {os.environ['BENCH_KEY']}".encode(): int(os.environ["BENCH_WORLD"])}
        self._decode = msgspec.json.Decoder(DownloadRequest).decode
        self.encode = msgspec.json.Encoder().encode
        self._signer = Presigner(
            os.environ["BENCH_STORE_URL"],
            region="us-east-1",
            bucket="lapel",
            credentials=StaticCredentials(
                Credentials(os.environ["BENCH_ACCESS_KEY"], os.environ["BENCH_SECRET_KEY"])
            ),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if scope["type"] == "lifespan":
            await receive()
            self.pool = await asyncpg.create_pool(
                os.environ["BENCH_DATABASE_URL"], min_size=2, max_size=10, connection_class=Connection
            )
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self.pool.close()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "http":
            world_id = None
            for name, value in scope["headers"]:
                if name == b"authorization":
                    world_id = self._keys.get(value)
            message = await receive()
            status, body = await self.answer(scope["path"], world_id, message.get("body", b""))
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ]
            await send(
                {"type": "http.response.start", "status": status, "headers": headers, "trailers": False}
            )
            await send({"type": "http.response.body", "body": body, "more_body": False})

    async def answer(self, path: str, world_id: int | None, content: bytes) -> tuple[int, bytes]:
        """Status and body of one request."""
        if world_id is None:
            return 401, b"{}"
        segments = path.split("/")
        if len(segments) != 5 or segments[4] != "download-url":
            return 404, b"{}"
        asked = self._decode(content)
        row = await self.find(world_id, segments[3], asked.media_id)
        if row is None or row["status"] != "uploaded":
            return 404, b"{}"
        now = datetime.now(UTC)
        url = self._signer.get_url(
            row["object_key"],
            now=now,
            expires_in=asked.expires_in,
            response_content_type=row["content_type"],
            response_content_disposition=f'{asked.disposition}; filename="{row["name"]}.ogg"',
        )
        answer = Download(
            url,
            asked.media_id,
            row["content_type"],
            row["file_size_bytes"],
            now + timedelta(seconds=asked.expires_in),
        )
        return 200, self.encode(answer)

    async def find(self, world_id: int, recording_id: str, media_id: str) -> asyncpg.Record | None:
        """The media of one request."""
        return await self.pool.fetchrow(_FIND, world_id, recording_id, media_id)


app = Bare()
