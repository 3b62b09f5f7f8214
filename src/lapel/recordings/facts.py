"""Which media a completion's facts speak of, and whether they agree with what is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.errors import Conflict, IntegrityFailure, InvalidRequest, MediaNotUploaded
from lapel.recordings.snapshot import Facts
from lapel.recordings.views import whole_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lapel.recordings.snapshot import MediaState, Refusal, Snapshot
    from lapel.recordings.wire import CompleteUpload


def facts_of(body: CompleteUpload) -> Facts:
    """The body's facts in our units."""
    return Facts(sha256=body.content_sha256, size=body.file_size_bytes, duration_ms=body.duration_ms)


def agree(given: Facts, known: Facts) -> bool:
    """Whether no fact that both have differs. Durations are compared as answers show them, in seconds."""
    if given.sha256 is not None and known.sha256 is not None and given.sha256 != known.sha256:
        return False
    if given.size is not None and known.size is not None and given.size != known.size:
        return False
    return (
        given.duration_ms is None
        or known.duration_ms is None
        or whole_seconds(given.duration_ms) == whole_seconds(known.duration_ms)
    )


def check_repeat(snapshot: Snapshot, facts: Facts, refusals: Iterable[Refusal]) -> None:
    """A finished call may be repeated with the same facts, and a refused one hears of its refusal.

    Raises Conflict, MediaNotUploaded, IntegrityFailure.
    """
    if not facts.any:
        return
    audio = snapshot.audio
    if audio is not None and audio.status != "uploaded":
        # The facts speak of an audio that is not here: 200 would tell its owner to let go of it.
        raise refused() if audio.status == "failed" else nothing_uploaded()
    known = (audio,) if audio is not None else snapshot.having("uploaded")
    kept = [each.uploaded_at for each in known if each.uploaded_at and agree(facts, each.known)]
    lost = [] if audio is not None else [each.at for each in refusals if agree(facts, each.facts)]
    if lost and (not kept or max(lost) > max(kept)):
        raise refused()  # what the facts were said of last was not kept, though they fit another media
    if not kept:
        raise differing()


def check_pending(snapshot: Snapshot, facts: Facts) -> None:
    """While bytes are verified the call may be repeated with the same facts. Raises Conflict."""
    if not facts.any:
        return
    audio = snapshot.audio
    verifying = snapshot.having("verifying")
    subjects = verifying if audio is None else (audio,)
    known = [
        attempt.expected for media in subjects for attempt in media.attempts if attempt.state == "verifying"
    ] + [media.known for media in subjects if media.status == "uploaded"]
    if known and not any(agree(facts, each) for each in known):
        raise differing()


def subject_of(
    snapshot: Snapshot, pending: tuple[MediaState, ...], taken: set[str], body: CompleteUpload
) -> str | None:
    """The id of the pending media that the facts describe; None when they describe none of them.

    The audio, else the only pending media. Raises InvalidRequest when it is not clear which one,
    Conflict when the audio is known to differ, and refuses to take anything when the audio that
    the facts describe has no object.
    """
    facts = facts_of(body)
    if not facts.any:
        return None
    audio = snapshot.audio
    if audio is None:
        if len(pending) != 1:
            name = body.first_given
            raise InvalidRequest(
                f"`{name}` describes the audio, or the only pending media; this recording has no audio and "
                f"{len(pending)} pending media. Leave it out.",
                param=name,
            )
        return pending[0].id
    if audio.status == "uploaded":
        if not agree(facts, audio.known):
            raise differing()
        return None
    if audio.id not in taken:
        raise refused() if audio.status == "failed" else nothing_uploaded()
    return audio.id


def nothing_uploaded() -> MediaNotUploaded:
    """No object to take."""
    return MediaNotUploaded(
        "Nothing has been uploaded yet: PUT the bytes to the upload URL, then complete the upload."
    )


def refused() -> IntegrityFailure:
    """What a repeat hears after a refusal."""
    return IntegrityFailure(
        "The uploaded bytes are not those that were announced. Ask for a fresh upload URL and upload again."
    )


def differing() -> Conflict:
    """The upload is finished, and with other facts."""
    return Conflict("This upload was completed with another hash, size or duration.")
