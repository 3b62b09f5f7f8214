"""The content types that each type of media may have, and their short names.

A new content type may also need an entry in three other tables:

- `_EXTENSIONS` in foundation/storage/object_names.py.
- For audio, `_NAMES` in slices/transcription/audio/audio_formats.py.
- For audio, `_NAMES` in slices/transcription/providers/speech_service.py.
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


# Other names of these content types, which browsers, operating systems and libraries send.
ALIASES: dict[str, str] = {
    "application/ogg": "audio/ogg",
    "audio/aacp": "audio/aac",
    "audio/m4a": "audio/x-m4a",
    "audio/mp3": "audio/mpeg",
    "audio/mpeg3": "audio/mpeg",
    "audio/vnd.wave": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/x-aac": "audio/aac",
    "audio/x-flac": "audio/flac",
    "audio/x-mp3": "audio/mpeg",
    "audio/x-mpeg": "audio/mpeg",
    "audio/x-ogg": "audio/ogg",
    "audio/x-opus": "audio/opus",
    "audio/x-pn-wav": "audio/wav",
    "audio/x-wav": "audio/wav",
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "video/x-m4v": "video/mp4",
}


def content_type_for(media_type: MediaType, asked: str | None) -> str:
    """The content type to sign: `asked` without parameters and by its usual name, or the default.

    Raises InvalidRequest when `asked` is no content type of this type of media.
    """
    known = CONTENT_TYPES[media_type]
    if asked is None:
        return known[0]
    plain = asked.partition(";")[0].strip().lower()
    found = ALIASES.get(plain, plain)
    if found not in known:
        raise InvalidRequest(
            f"`content_type` of {media_type} is one of {', '.join(known)}.", param="content_type"
        )
    return found


def names_of(media_type: MediaType) -> list[str]:
    """Every name that `content_type_for` takes for this type of media, without parameters."""
    known = CONTENT_TYPES[media_type]
    return [*known, *(alias for alias, name in ALIASES.items() if name in known)]


def all_content_types() -> list[str]:
    """The content types of all media."""
    return [each for of_media in CONTENT_TYPES.values() for each in of_media]


def largest(settings: Settings, media_type: MediaType) -> int:
    """The limit of a media of this type, in bytes."""
    return settings.media_ceilings[media_type]


def format_of(content_type: str | None) -> str | None:
    """The short name in events: `opus` for `audio/opus`."""
    return None if content_type is None else content_type.rpartition("/")[2].removeprefix("x-")
