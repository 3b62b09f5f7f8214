"""download-url, the hottest path: one signature, and a statement that answers all callers who wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.errors import NotFound
from lapel.foundation.core.file_names import content_disposition
from lapel.foundation.database.together import Together
from lapel.slices.recordings.access import no_audio, unknown
from lapel.slices.recordings.downloads import download_queries
from lapel.slices.recordings.downloads.download_names import file_name
from lapel.slices.recordings.errors import MediaNotUploaded
from lapel.slices.recordings.wire import AudioDownload, Download

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.ports import Ports
    from lapel.slices.recordings.access import Reach
    from lapel.slices.recordings.downloads.download_queries import DownloadRow
    from lapel.slices.recordings.wire import DownloadQuery, DownloadRequest


class Downloads:
    """Signed links to uploaded media. Every method raises Unavailable when the database fails."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._of_media = Together(ports.database, download_queries.find_downloads)
        self._of_audio = Together(ports.database, download_queries.find_audio_downloads)

    async def of_media(self, at: Reach, body: DownloadRequest) -> Download:
        """A link to one media.

        Raises NotFound when the caller reaches no such media of the recording, MediaNotUploaded when the
        media is not uploaded, and StoreUnavailable without credentials to sign with.
        """
        row = await self._of_media.ask((at, body.media_id))
        if row is None:
            raise _unknown_media()
        link, _ = self._sign(row, body.media_id, at.recording_id, body)
        return link

    async def of_audio(self, at: Reach, query: DownloadQuery) -> AudioDownload:
        """A link to the recording's audio. Raises as `of_media`, and MediaNotUploaded without an audio."""
        row = await self._of_audio.ask(at)
        if row is None:
            raise unknown()
        if row.id is None:
            raise no_audio(row.audio_erased_at)
        link, seconds = self._sign(row, row.id, at.recording_id, query)
        return AudioDownload(**msgspec.structs.asdict(link), expires_in=seconds)

    async def contents(self, at: Reach, media_id: str) -> tuple[str, AsyncGenerator[bytes]]:
        """A useful file name of an uploaded media, and its bytes in ranges of 8 MiB.

        Raises NotFound when the caller reaches no such media of the recording, and MediaNotUploaded when the
        media is not uploaded. The bytes raise StoreUnavailable, ObjectMissing without the object, and
        ObjectCut when the object is shorter than the upload.
        """
        row = await self._of_media.ask((at, media_id))
        if row is None:
            raise _unknown_media()
        key, content_type, size = row.object_key, row.content_type, row.file_size_bytes
        if row.status != "uploaded" or key is None or content_type is None or size is None:
            raise _not_uploaded()
        return (
            file_name(None, row.name, at.recording_id, content_type),
            self._ports.store.pieces(key, size),
        )

    def _sign(
        self, row: DownloadRow, media_id: str, recording_id: str, asked: DownloadRequest | DownloadQuery
    ) -> tuple[Download, int]:
        """The link, and its life in seconds. Raises MediaNotUploaded and StoreUnavailable as `of_media`."""
        key, content_type, size = row.object_key, row.content_type, row.file_size_bytes
        if row.status != "uploaded" or key is None or content_type is None or size is None:
            raise _not_uploaded()
        name = file_name(asked.filename, row.name, recording_id, content_type)
        link = self._ports.links.get(
            key,
            now=self._ports.clock.now(),
            expires_in=asked.expires_in,
            content_type=content_type,
            disposition=content_disposition(asked.disposition, name, recording_id),
        )
        made = Download(
            download_url=link.url,
            media_id=media_id,
            content_type=content_type,
            file_size_bytes=size,
            expires_at=link.expires_at,
        )
        return made, link.expires_in


def _unknown_media() -> NotFound:
    return NotFound("There is no media with this id in a recording with this id.")


def _not_uploaded() -> MediaNotUploaded:
    return MediaNotUploaded("This media is not uploaded, so there is nothing to download yet.")
