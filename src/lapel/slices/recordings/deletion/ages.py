"""SQL for the slice of retention: the recordings and the audio of a world that have a certain age.

Ages are counted from the time at which the server received the data, never from a time that a client states,
because a device may upload late and its clock may be wrong.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

# A whole recording with all its media and transcriptions, or only its audio.
ErasedKind: TypeAlias = Literal["recording", "audio"]
# The recordings to which an override applies: those of the world, of an end user or of a device.
AgeScope: TypeAlias = Literal["world", "end_user", "device"]

# The time from which the age of a recording `r` or of its audio counts: of a recording, its first upload or,
# without any upload, its announcement. A second media does not make a recording younger.
RECEIVED: dict[ErasedKind, str] = {
    "recording": "GREATEST(r.created_at, r.uploaded_at)",
    "audio": "r.content_sha256_verified_at",
}
# What statements about a recording `r` of these ages need, if they read `r` in a subquery.
AGE_COLUMNS = """r.world_id, r.id, r.end_user_id, r.device_id, r.created_at, r.uploaded_at, r.deleted_at,
    r.content_sha256_verified_at, r.audio_erased_at, r.file_size_bytes"""
# The column by which an index finds old rows. It is never later than the time of `RECEIVED`. No audio is
# verified before its recording counts as received.
BY_AGE: dict[ErasedKind, str] = {"recording": "r.created_at", "audio": "r.content_sha256_verified_at"}

_SUBJECT: dict[AgeScope, str] = {
    "world": "",
    "end_user": "AND r.end_user_id = {}",
    "device": "AND r.device_id = {}",
}
_THERE: dict[ErasedKind, str] = {
    "recording": "",
    "audio": "AND r.content_sha256_verified_at IS NOT NULL AND r.audio_erased_at IS NULL",
}

# The bytes of the uploaded audio of a recording `r`, 0 if the audio is erased.
AUDIO_BYTES = "(CASE WHEN r.audio_erased_at IS NULL THEN coalesce(r.file_size_bytes, 0) ELSE 0 END)"


def other_bytes(row: str) -> str:
    """SQL: the bytes of a recording's uploaded images and videos.

    `row`: the alias of a row with the columns `world_id` and `recording_id`.
    """
    return f"""(
    SELECT coalesce(sum(m.file_size_bytes), 0)::bigint FROM media m
    WHERE m.world_id = {row}.world_id AND m.recording_id = {row}.recording_id AND m.type <> 'audio'
        AND m.status = 'uploaded')"""  # noqa: S608 - an alias in our own SQL


def received_before(kind: ErasedKind, scope: AgeScope, moment: str, subject: str) -> str:
    """SQL after FROM: recordings `r` of world $1, one range of an index.

    It has all recordings that were received by `moment`, or whose audio was, and perhaps some that were
    received later: `RECEIVED` gives the exact time. It also has recordings that are deleted: `PRESENT` leaves
    them out. `subject`: the id of the end user or of the device.
    """
    return f"""recordings r
    WHERE r.world_id = $1 {_SUBJECT[scope].format(subject)} {_THERE[kind]}
        AND {BY_AGE[kind]} <= {moment}"""
