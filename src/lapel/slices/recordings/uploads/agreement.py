"""Compare the facts that a client states in upload-complete with the known facts of its media."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict, Detail, InvalidRequest
from lapel.slices.recordings.errors import IntegrityFailure, MediaNotUploaded
from lapel.slices.recordings.uploads.facts import Facts
from lapel.slices.recordings.views import whole_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lapel.slices.recordings.uploads.snapshot import MediaState, Rejection, Snapshot
    from lapel.slices.recordings.wire import CompleteUpload


def facts_of(body: CompleteUpload) -> Facts:
    """The body's facts: size in bytes, duration in milliseconds."""
    return Facts(sha256=body.content_sha256, size=body.file_size_bytes, duration_ms=body.duration_ms)


def agree(given: Facts, known: Facts) -> bool:
    """Whether all facts that both sides state are equal. Durations are compared in whole seconds.

    A duration agrees with the measured one, and with the one that was claimed before.
    """
    if given.sha256 is not None and known.sha256 is not None and given.sha256 != known.sha256:
        return False
    if given.size is not None and known.size is not None and given.size != known.size:
        return False
    if given.duration_ms is None or known.duration_ms is None:
        return True
    durations = [each for each in (known.duration_ms, known.claimed_duration_ms) if each is not None]
    return whole_seconds(given.duration_ms) in map(whole_seconds, durations)


def check_repeat(snapshot: Snapshot, facts: Facts, refusals: Iterable[Rejection]) -> None:
    """Accept a call that repeats a finished call with the same facts.

    Raises IntegrityFailure when the upload that the facts describe was refused, MediaNotUploaded when the
    audio has no object, and Conflict when the finished upload had other facts. The facts of an audio that was
    erased after its upload still count.
    """
    if not facts.any:
        return
    if snapshot.erased_audio is not None:
        if not agree(facts, snapshot.erased_audio):
            raise differing()
        return
    audio = snapshot.audio
    if audio is not None and audio.status != "uploaded":
        # The facts describe the audio, which is not uploaded. After a 200, the client would delete the audio.
        raise refused(audio.failure, audio.id) if audio.status == "failed" else nothing_uploaded()
    known = (audio,) if audio is not None else snapshot.having("uploaded")
    kept = [each.uploaded_at for each in known if each.uploaded_at and agree(facts, each.known)]
    lost = [] if audio is not None else [each for each in refusals if agree(facts, each.facts)]
    last = max(lost, key=lambda each: each.at, default=None)
    if last is not None and (not kept or last.at > max(kept)):
        # Another media has these facts, but the last upload with them was refused.
        raise refused(last.failure, last.media_id)
    if not kept:
        raise differing()


def check_pending(snapshot: Snapshot, facts: Facts) -> None:
    """During a verification, accept a call without facts, or with facts that agree with the known facts.

    The known facts are those of the audio or, without an audio, those of the media that are being verified.
    Raises Conflict for other facts.
    """
    if not facts.any:
        return
    if snapshot.erased_audio is not None:
        if not agree(facts, snapshot.erased_audio):
            raise differing()
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
    snapshot: Snapshot, pending: tuple[MediaState, ...], with_object: set[str], body: CompleteUpload
) -> str | None:
    """The id of the pending media that the facts describe: the audio, or else the only pending media.

    None when there are no facts, or when the audio already has the status `uploaded` (also if it was erased
    since) and the facts agree with it. `with_object`: the ids of the pending media that have an object.

    Raises:

    - InvalidRequest when there is no audio and more than one media is pending: then it is unclear which media
      the facts describe.
    - Conflict when the audio already has the status `uploaded` and its known facts differ from these.
    - IntegrityFailure when the audio has the status `failed`.
    - MediaNotUploaded when the audio is pending and has no object.
    """
    facts = facts_of(body)
    if not facts.any:
        return None
    if snapshot.erased_audio is not None:
        if not agree(facts, snapshot.erased_audio):
            raise differing()
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
    if audio.id not in with_object:
        raise refused(audio.failure, audio.id) if audio.status == "failed" else nothing_uploaded()
    return audio.id


def check_signed(given: Facts, signed: Facts, media_id: str) -> None:
    """Accept the facts of a call, unless their SHA-256 contradicts the one signed into the upload's URL.

    The store takes only bytes with the signed SHA-256. So a contradiction is a slip of this call, and says
    nothing about the object, which stays for the next call. A size that contradicts the signed one is an
    IntegrityFailure of the verification, because the HTTP contract says so. Raises Conflict, which names
    both.
    """
    if given.sha256 is None or signed.sha256 is None or given.sha256 == signed.sha256:
        return
    reason = f"This call says `{given.sha256}`, but the upload URL was signed for `{signed.sha256}`."
    raise Conflict(
        f"`content_sha256` contradicts the upload. {reason} The uploaded object stays: repeat the call with "
        "the SHA-256 of the uploaded bytes, or without it. If those are the wrong bytes, ask for a fresh "
        "upload URL.",
        param="content_sha256",
        details=(Detail("content_sha256", reason),),
        resource_id=media_id,
    )


def nothing_uploaded() -> MediaNotUploaded:
    """The error for a completion without an object."""
    return MediaNotUploaded(
        "Nothing has been uploaded yet: PUT the bytes to the upload URL, then complete the upload."
    )


def refused(failure: str | None, media_id: str | None) -> IntegrityFailure:
    """The error for a refusal and each repeat. `failure`: what was announced, and what arrived."""
    return IntegrityFailure(
        f"{failure or 'The uploaded bytes are not those that were announced.'} No repeat of this call "
        "changes that: ask for a fresh upload URL and upload again.",
        resource_id=media_id,
    )


def differing() -> Conflict:
    """The error for facts that differ from those of the upload."""
    return Conflict("This upload was completed with another hash, size or duration.")
