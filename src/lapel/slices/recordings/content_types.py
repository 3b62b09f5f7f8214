"""The content types that each type of media may have, and their short names.

A new content type may also need an entry in three other tables:

- `_EXTENSIONS` in foundation/storage/object_names.py.
- For audio, `_NAMES` in slices/transcription/audio/audio_formats.py.
- For audio, `_NAMES` in slices/transcription/providers/http/sending.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lapel.foundation.core.errors import InvalidRequest

if TYPE_CHECKING:
    from lapel.settings import Settings

MediaType = Literal["audio", "image", "video"]

# The first content type of each media type is the default.
CONTENT_TYPES: dict[MediaType, tuple[str, ...]] = {
    "audio": (
        "audio/opus",
        "audio/wav",
        "audio/mpeg",
        "audio/mp4",
        "audio/webm",
        "audio/ogg",
        "audio/flac",
        "audio/aac",
        "audio/x-m4a",
    ),
    "image": ("image/jpeg", "image/png"),
    "video": ("video/mp4",),
}


def content_type_for(media_type: MediaType, asked: str | None) -> str:
    """The content type to sign: `asked`, or the default.

    Raises InvalidRequest when `asked` is no content type of this type of media.
    """
    known = CONTENT_TYPES[media_type]
    if asked is None:
        return known[0]
    if asked not in known:
        raise InvalidRequest(
            f"`content_type` of {media_type} is one of {', '.join(known)}.", param="content_type"
        )
    return asked


def all_content_types() -> list[str]:
    """The content types of all media."""
    return [each for of_media in CONTENT_TYPES.values() for each in of_media]


def largest(settings: Settings, media_type: MediaType) -> int:
    """The limit of a media of this type, in bytes."""
    return settings.media_ceilings[media_type]


def format_of(content_type: str | None) -> str | None:
    """The short name in events: `opus` for `audio/opus`."""
    return None if content_type is None else content_type.rpartition("/")[2].removeprefix("x-")
