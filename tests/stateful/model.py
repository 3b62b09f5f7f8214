"""What one world should look like: a few dictionaries, and the contract's rules over them.

A method named after a call gives the answer to expect, and changes the model as the call
changes the world. Nothing here knows the database, the store or HTTP.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from tests.stateful.answers import CONFLICT, INTEGRITY, NOTHING_UPLOADED, OK, Answer
from tests.stateful.fleet import Device

# Objects up to this size are hashed in the call (LAPEL_INLINE_HASH_BYTES of the server under test).
INLINE_BYTES = 1000


def sha256(content: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@dataclass(slots=True)
class Attempt:
    """One upload URL and what was PUT to it."""

    url: str
    headers: dict[str, str]
    content_type: str
    size: int | None
    sha256: str | None
    content: bytes | None = None
    open: bool = True

    def takes(self, content: bytes) -> bool:
        """Whether a PUT of these bytes is stored."""
        return self.size in (None, len(content)) and self.sha256 in (None, sha256(content))


@dataclass(slots=True)
class Media:
    """One media; `content` is what was promised."""

    type: str
    content_type: str
    status: Literal["pending", "uploaded", "failed"] = "pending"
    content: bytes | None = None
    duration_ms: int | None = None
    # What it was refused for, and when it was decided on (a count over all completions).
    refused: Facts | None = None
    decided: int = 0
    attempts: list[Attempt] = field(default_factory=list[Attempt])

    @property
    def newest(self) -> Attempt | None:
        """The newest attempt that can be taken."""
        return next(
            (each for each in reversed(self.attempts) if each.open and each.content is not None), None
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """What a completion says."""

    content: bytes | None = None
    seconds: int | None = None

    @property
    def any(self) -> bool:
        return self.content is not None or self.seconds is not None

    def fit(self, others: Facts) -> bool:
        """Whether no fact that both have differs."""
        return (None in (self.content, others.content) or self.content == others.content) and (
            None in (self.seconds, others.seconds) or self.seconds == others.seconds
        )

    def agree(self, media: Media) -> bool:
        """Whether nothing known of the media differs."""
        if self.content is not None and media.content not in (None, self.content):
            return False
        return None in (self.seconds, media.duration_ms) or self.seconds == (media.duration_ms or 0) // 1000


@dataclass(slots=True)
class Recording:
    """One recording that was not deleted."""

    end_user: str
    device: str | None
    name: str | None
    metadata: dict[str, object]
    status: Literal["pending", "uploaded", "integrity_failure"] = "pending"
    media: dict[str, Media] = field(default_factory=dict[str, Media])
    tokens: list[str] = field(default_factory=list[str])
    uuid: str | None = None
    # The binding of its device under which it was made.
    generation: int | None = None
    completions: int = 0

    @property
    def audio(self) -> Media | None:
        """The one audio, if asked for."""
        return next((each for each in self.media.values() if each.type == "audio"), None)

    def having(self, status: str) -> list[Media]:
        """Media of one status."""
        return [each for each in self.media.values() if each.status == status]

    def upload_url(self, media_type: str) -> Answer:
        """Whether another URL of this type is given."""
        return CONFLICT if media_type == "audio" and self.audio and self.audio.status == "uploaded" else OK

    def attempt(self, media_id: str, media_type: str, attempt: Attempt) -> None:
        """A URL was given."""
        media = self.media.setdefault(media_id, Media(media_type, attempt.content_type))
        media.status, media.content_type = "pending", attempt.content_type
        media.attempts.append(attempt)

    def complete(self, facts: Facts) -> Answer:
        """Section 9: the newest attempts that have an object are verified and claimed, or refused."""
        found = [each for each in self.having("pending") if each.newest]
        if not found:
            return self._nothing_found(facts)
        subject, refusal = self._subject(found, facts)
        if refusal:
            return refusal
        if subject is not None and _contradicts(subject, facts):
            return CONFLICT
        bad = [each for each in found if each is subject and not _fits(each, facts)]
        good = found if not bad else [each for each in found if each not in bad and self.status == "uploaded"]
        self.completions += 1
        for media in bad:
            media.status, media.refused, media.decided = "failed", facts, self.completions
            assert media.newest
            media.newest.open = False
        for media in good:
            assert media.newest
            media.status, media.content, media.decided = "uploaded", media.newest.content, self.completions
            media.content_type = media.newest.content_type
            if media is subject and facts.seconds is not None:
                media.duration_ms = facts.seconds * 1000
        if self.status != "uploaded":
            self.status = "integrity_failure" if bad else "uploaded"
        return INTEGRITY if bad else OK

    def _nothing_found(self, facts: Facts) -> Answer:
        """A repeat of a finished call, or one that came too early."""
        if self.status != "uploaded":
            failed = self.status == "integrity_failure" and not self.having("pending")
            return INTEGRITY if failed else NOTHING_UPLOADED
        if not facts.any:
            return OK
        if self.audio is not None and self.audio.status != "uploaded":
            return INTEGRITY if self.audio.status == "failed" else NOTHING_UPLOADED
        known = [self.audio] if self.audio else self.having("uploaded")
        kept = max((each.decided for each in known if facts.agree(each)), default=0)
        failed = [] if self.audio else self.having("failed")
        lost = max((each.decided for each in failed if each.refused and facts.fit(each.refused)), default=0)
        if lost > kept:
            return INTEGRITY
        return OK if kept else CONFLICT

    def _subject(self, found: list[Media], facts: Facts) -> tuple[Media | None, Answer | None]:
        """The media that the facts describe, or why that is refused."""
        if not facts.any:
            return None, None
        pending = self.having("pending")
        if self.audio is None:
            return (pending[0], None) if len(pending) == 1 else (None, Answer(400, "invalid_request"))
        if self.audio.status == "uploaded":
            return None, None if facts.agree(self.audio) else CONFLICT
        if self.audio not in found:
            return None, INTEGRITY if self.audio.status == "failed" else NOTHING_UPLOADED
        return self.audio, None


def _contradicts(media: Media, facts: Facts) -> bool:
    """Whether the hash of the facts is not the one that was signed into the URL."""
    signed = media.newest.sha256 if media.newest else None
    return signed is not None and facts.content is not None and sha256(facts.content) != signed


def _fits(media: Media, facts: Facts) -> bool:
    return facts.content is None or (media.newest is not None and media.newest.content == facts.content)


@dataclass(slots=True)
class Key:
    """One API key."""

    id: str
    scopes: frozenset[str]
    end_user: str | None = None
    works: bool = True

    def may(self, scope: str) -> bool:
        """Whether it has a scope."""
        return scope in self.scopes


@dataclass(slots=True)
class World:
    """One project's test world."""

    end_users: dict[str, dict[str, str | None]] = field(default_factory=dict[str, dict[str, str | None]])
    devices: dict[str, Device] = field(default_factory=dict[str, Device])
    recordings: dict[str, Recording] = field(default_factory=dict[str, Recording])
    keys: dict[str, Key] = field(default_factory=dict[str, Key])
    deleted: list[str] = field(default_factory=list[str])
    deleted_devices: list[str] = field(default_factory=list[str])
    dead_tokens: list[str] = field(default_factory=list[str])
    events: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    # Of these the events of devices, with the wearer of whom they tell.
    worn: Counter[tuple[str, str, str | None]] = field(default_factory=Counter[tuple[str, str, str | None]])

    def holder(self, external_id: str | None) -> str | None:
        """Who has this external id."""
        if external_id is None:
            return None
        found = (key for key, each in self.end_users.items() if each["external_id"] == external_id)
        return next(found, None)

    def create(self, recording_id: str, recording: Recording) -> None:
        """A new recording."""
        self.recordings[recording_id] = recording
        self.events["recording.created", recording_id] += 1

    def complete(self, recording_id: str, facts: Facts) -> Answer:
        """The same for its event, which comes once."""
        recording = self.recordings[recording_id]
        before = recording.status
        answer = recording.complete(facts)
        if recording.status == "uploaded" and before != "uploaded":
            self.events["recording.uploaded", recording_id] += 1
            device = self.devices.get(recording.device or "")
            if device is not None and device.end_user in (None, recording.end_user):
                device.synced = True
        return answer

    def reaches(self, device_id: str, recording: Recording) -> bool:
        """Whether this device's token reaches a recording: it was made under the present binding."""
        device = self.devices[device_id]
        return (recording.device, recording.generation) == (device_id, device.generation)

    def delete(self, recording_id: str) -> None:
        """A recording is gone, and what its events said."""
        recording = self.recordings.pop(recording_id)
        for kind in ("created", "uploaded"):
            del self.events[f"recording.{kind}", recording_id]
        self.events["recording.deleted", recording_id] += 1
        self.deleted.append(recording_id)
        self.dead_tokens += recording.tokens

    def bind(self, device_id: str, end_user_id: str, token: str) -> None:
        """A device is bound."""
        self.dead_tokens += self.devices[device_id].bind(end_user_id, token)
        self.tell("device.bound", device_id, end_user_id)

    def unbind(self, device_id: str) -> None:
        """A device is unbound, if it was bound."""
        device = self.devices[device_id]
        if device.end_user is not None:
            wearer = device.end_user
            self.dead_tokens += device.unbind()
            self.tell("device.unbound", device_id, wearer)

    def tell(self, kind: str, device_id: str, wearer: str | None) -> None:
        """An event of a device, which goes with its wearer."""
        self.events[kind, device_id] += 1
        self.worn[kind, device_id, wearer] += 1

    def delete_device(self, device_id: str) -> None:
        """An unbound device is gone, and what its events said; its recordings stay."""
        del self.devices[device_id]
        for kind in ("bound", "unbound", "low_battery"):
            del self.events[f"device.{kind}", device_id]
        self.worn = Counter({key: count for key, count in self.worn.items() if key[1] != device_id})
        self.deleted_devices.append(device_id)

    def delete_end_user(self, end_user_id: str) -> None:
        """An end user is gone with everything of theirs."""
        del self.end_users[end_user_id]
        for recording_id in [key for key, each in self.recordings.items() if each.end_user == end_user_id]:
            self.delete(recording_id)
        for kind, device_id, wearer in list(self.worn):
            if wearer == end_user_id:
                self.events[kind, device_id] -= self.worn.pop((kind, device_id, wearer))
        for device_id, device in self.devices.items():
            if device.end_user == end_user_id:
                self.dead_tokens += device.unbind()
                self.tell("device.unbound", device_id, None)
            device.forget(end_user_id)
        for token, key in self.keys.items():
            if key.end_user == end_user_id and key.works:
                key.works = False
                self.dead_tokens.append(token)
