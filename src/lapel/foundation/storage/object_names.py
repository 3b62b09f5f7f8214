"""Object names: staging names, final names, and parsing a name into its parts.

Upload links name only staging names and sealed ones, and download links only final ones. So an upload link
that is still valid after the completion cannot change a served object.
"""

from dataclasses import dataclass

STAGING = "staging/"
# Objects that devices encrypted, until the server has published their plain audio.
SEALED = "sealed/"
MEDIA = "media/"
FIRMWARE = "firmware/"
# Small objects that tell of erasures; see the slice `erasure`.
LEDGER = "ledger/"

_EXTENSIONS = {
    "audio/opus": "opus",
    "audio/ogg": "ogg",
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "audio/x-m4a": "m4a",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/webm": "webm",
    "image/jpeg": "jpg",
    "image/png": "png",
    "video/mp4": "mp4",
}


@dataclass(frozen=True, slots=True)
class AttemptName:
    """One attempt to upload one media: the four ids in each of its object names."""

    project_id: str
    recording_id: str
    media_id: str
    attempt_id: str

    @property
    def copy_id(self) -> str:
        """The part that makes each copy's name unique: an id without prefix, made when the copy was begun."""
        return self.attempt_id.rpartition("-")[2]

    def staging_key(self) -> str:
        """The name to which the client uploads."""
        return f"{STAGING}{self.project_id}/{self.recording_id}/{self.media_id}/{self.attempt_id}"

    def final_key(self, media_type: str, content_type: str) -> str:
        """The name of the verified copy; `media_type` is audio, image or video."""
        name = f"{media_type}.{extension(content_type)}"
        return f"{MEDIA}{self.project_id}/{self.recording_id}/{self.media_id}/{self.attempt_id}/{name}"


def extension(content_type: str) -> str:
    """Return the usual file extension of a content type, parameters ignored; `bin` when there is none."""
    known = _EXTENSIONS.get(content_type)
    return known or _EXTENSIONS.get(content_type.partition(";")[0].strip().lower(), "bin")


def recording_prefixes(project_id: str, recording_id: str) -> tuple[str, str, str]:
    """Return the three prefixes of all objects of a recording (staging, final, sealed)."""
    below = f"{project_id}/{recording_id}/"
    return f"{STAGING}{below}", f"{MEDIA}{below}", f"{SEALED}{below}"


def audio_prefixes(project_id: str, recording_id: str, media_id: str) -> tuple[str, str, str]:
    """Return the three prefixes of all objects of a recording's one audio (staging, final, sealed)."""
    staging, final, sealed = recording_prefixes(project_id, recording_id)
    return f"{staging}{media_id}/", f"{final}{media_id}/", sealed


@dataclass(frozen=True, slots=True)
class SealedName:
    """The place of one encrypted object: the three ids in its name."""

    project_id: str
    recording_id: str
    session_id: str

    def key(self) -> str:
        """The name to which the client uploads."""
        return f"{SEALED}{self.project_id}/{self.recording_id}/{self.session_id}"


def parse_sealed(key: str) -> SealedName | None:
    """Return the session to which a name below `SEALED` belongs, or None for any other name."""
    parts = key.split("/")
    return SealedName(*parts[1:]) if parts[0] == "sealed" and len(parts) == 4 else None


def firmware_key(project_id: str, release_id: str, kind: str) -> str:
    """The name of a file of a firmware release; `kind` is bin or ufw."""
    return f"{FIRMWARE}{project_id}/{release_id}/firmware.{kind}"


def firmware_release(key: str) -> str | None:
    """Return the id of the release whose file has this name, or None for any other name."""
    parts = key.split("/")
    return parts[2] if parts[0] == "firmware" and len(parts) == 4 else None


def parse(key: str) -> AttemptName | None:
    """Return the attempt that a staging or final name belongs to, or None for any other name."""
    parts = key.split("/")
    if (parts[0] == "staging" and len(parts) == 5) or (parts[0] == "media" and len(parts) == 6):
        return AttemptName(*parts[1:5])
    return None
