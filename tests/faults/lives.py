"""Lives of recordings: what a client does with one, from the first call to the last. Each writes the journal.

Every random choice comes from the life's own generator, so that a seed replays the choices.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.faults.journal import Created, Deleted, Deleting, Promised, Put, Surprise
from tests.faults.stubborn import Stubborn

# The servers under test hash objects up to this size in the call, larger ones in a job.
INLINE_BYTES = 32 * 1024
AUDIO = "audio/opus"
IMAGE = "image/png"


def sha256(content: bytes) -> str:
    """SHA-256 in lower-case hexadecimal, as in the contract."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class Link:
    """An answer of upload-url."""

    media_id: str
    url: str
    headers: dict[str, str]
    upload_token: str


class Life:
    """One recording and its client."""

    def __init__(self, client: Stubborn, token: str, end_user_id: str, random: Random) -> None:
        self.client = client
        self.random = random
        self.recording_id = ""
        self._token = token
        self._end_user_id = end_user_id

    def content(self, *, large: bool = False) -> bytes:
        """Fresh bytes, below or (`large`) above the size that is hashed within the call."""
        low, high = (INLINE_BYTES + 1, 6 * INLINE_BYTES) if large else (1, INLINE_BYTES)
        return self.random.randbytes(self.random.randint(low, high))

    async def create(self) -> None:
        """POST /recordings; a repeat with the same Idempotency-Key gets a lost answer again."""
        body = {"end_user_id": self._end_user_id, "name": f"Life {self.random.randrange(10**6)}"}
        answer = await self.client.api(
            "POST", "/recordings", self._token, body=body, key=self._key(), allowed=(201,)
        )
        self.recording_id = answer.json()["id"]
        self.client.journal.write(Created(self.recording_id))

    async def link(
        self, content: bytes, content_type: str = AUDIO, *, keyed: bool = True, signs_hash: bool | None = None
    ) -> Link:
        """POST upload-url, with size and hash declared (then they are signed); at random unless told."""
        body: dict[str, Any] = {"type": content_type.split("/", maxsplit=1)[0], "content_type": content_type}
        if self.random.random() < 0.5:
            body |= {"file_size_bytes": len(content)}
        if self.random.random() < 0.3 if signs_hash is None else signs_hash:
            body |= {"sha256": sha256(content)}
        answer = await self.client.api(
            "POST", self._path("upload-url"), self._token, body=body, key=self._key() if keyed else None
        )
        got = answer.json()
        return Link(got["media_id"], got["upload_url"], got["headers"], got["upload_token"])

    async def put(self, link: Link, content: bytes) -> None:
        """PUT the bytes."""
        await self.client.put(link.url, link.headers, content)
        self.client.journal.write(Put(self.recording_id, link.media_id, len(content), sha256(content)))

    async def complete(
        self, *contents: bytes, token: str | None = None, facts: bytes | None = None, or_gone: bool = False
    ) -> None:
        """POST upload-complete until the server promises. `contents`: the bytes that it may promise.

        `facts`: bytes whose size and hash are sent. `or_gone`: a deletion is under way at the same time.
        """
        body = {} if facts is None else {"content_sha256": sha256(facts), "file_size_bytes": len(facts)}
        answer = await self.client.api(
            "POST",
            self._path("upload-complete"),
            token or self._token,
            body=body,
            # A deletion also ends the upload token.
            allowed=(200, 401, 404) if or_gone else (200,),
        )
        if answer.status_code == 200:
            self._promise(answer.json(), {sha256(content): len(content) for content in contents})

    async def refused(self, wrong: bytes, code: str = "integrity_failure") -> None:
        """POST upload-complete with the hash of other bytes, which must be refused."""
        body = {"content_sha256": sha256(wrong)}
        answer = await self.client.api(
            "POST", self._path("upload-complete"), self._token, body=body, allowed=(409,)
        )
        if answer.json()["error"]["code"] != code:
            self._surprise(answer.text)

    async def delete(self) -> None:
        """DELETE the recording; a repeat is answered 404."""
        self.client.journal.write(Deleting(self.recording_id))
        await self.client.api("DELETE", self._path(), self._token, allowed=(204, 404))
        self.client.journal.write(Deleted(self.recording_id))

    async def hold(self) -> None:
        """Place a legal hold on the recording."""
        await self.client.api(
            "POST", self._path("hold"), self._token, body={"reason": "Case 7"}, allowed=(200, 201)
        )

    async def release(self) -> None:
        """Release the hold; a repeat is answered 204, too."""
        await self.client.api("DELETE", self._path("hold"), self._token, allowed=(204,))

    async def forget(self) -> None:
        """DELETE the end user, who has only this recording."""
        self.client.journal.write(Deleting(self.recording_id))
        path = f"/end-users/{self._end_user_id}"
        await self.client.api("DELETE", path, self._token, allowed=(204, 404))
        self.client.journal.write(Deleted(self.recording_id))

    async def look(self, media_id: str, content: bytes) -> None:
        """Ask for a link to the promised media, and read it."""
        answer = await self.client.api(
            "POST", self._path("download-url"), self._token, body={"media_id": media_id}
        )
        got = await self.client.get(answer.json()["download_url"])
        if got.content != content:
            self.client.journal.write(Surprise(f"GET {media_id}", f"{len(got.content)} other bytes"))

    def _promise(self, recording: dict[str, Any], expected: dict[str, int]) -> None:
        uploaded = [media for media in recording["media"] if media["status"] == "uploaded"]
        if recording["status"] != "uploaded" or not uploaded:
            self.client.journal.write(
                Surprise(self._path("upload-complete"), f"200 without promise: {recording}")
            )
        for media in uploaded:
            if expected.get(media["sha256"]) != media["file_size_bytes"]:
                self.client.journal.write(
                    Surprise(self._path("upload-complete"), f"not what was sent: {media}")
                )
            self.client.journal.write(
                Promised(
                    self.recording_id,
                    media["id"],
                    media["mime_type"],
                    media["file_size_bytes"],
                    media["sha256"],
                )
            )

    def _surprise(self, answer: str) -> None:
        self.client.journal.write(Surprise(self._path("upload-complete"), answer))

    def _key(self) -> str:
        return f"k{self.random.getrandbits(96):x}"

    def _path(self, action: str = "") -> str:
        return f"/recordings/{self.recording_id}" + (f"/{action}" if action else "")


async def plain(life: Life) -> None:
    """Create, upload, complete, read."""
    content = life.content()
    await life.create()
    link = await life.link(content)
    await life.put(link, content)
    token = link.upload_token if life.random.random() < 0.5 else None
    facts = content if life.random.random() < 0.5 else None
    await life.complete(content, token=token, facts=facts)
    if life.random.random() < 0.3:
        await life.look(link.media_id, content)
    if life.random.random() < 0.2:
        await life.complete(content, token=token, facts=facts)


async def large(life: Life) -> None:
    """The same as `plain`, with an object that is hashed in the background."""
    content = life.content(large=True)
    await life.create()
    link = await life.link(content)
    await life.put(link, content)
    await life.complete(content, facts=content if life.random.random() < 0.5 else None)
    await life.look(link.media_id, content)


async def refused_first(life: Life, *, is_large: bool = False) -> None:
    """The completion names another hash: refused; a fresh upload then succeeds."""
    wrong, right = life.content(large=is_large), life.content(large=is_large)
    await life.create()
    await life.put(await life.link(wrong, signs_hash=False), wrong)
    await life.refused(right)
    await life.put(await life.link(right), right)
    await life.complete(right, facts=right)


async def refused_later(life: Life) -> None:
    """The same as `refused_first`, but the background hash detects it."""
    await refused_first(life, is_large=True)


async def slipped(life: Life) -> None:
    """The completion names another hash than the signed one: the object stays, for the right hash."""
    content, other = life.content(), life.content()
    await life.create()
    link = await life.link(content, signs_hash=True)
    await life.put(link, content)
    await life.refused(other, "conflict")
    await life.complete(content, facts=content)
    await life.look(link.media_id, content)


async def lost_link(life: Life) -> None:
    """An upload-url answer was lost and another asked for; either link takes the bytes."""
    content = life.content()
    await life.create()
    first = await life.link(content, keyed=False)
    second = await life.link(content, keyed=False)
    await life.put(life.random.choice((first, second)), content)
    await life.complete(content)


async def rivals(life: Life) -> None:
    """Two uploads of one recording at once: both are promised the same one."""
    one, other = life.content(), life.content()
    await life.create()

    async def upload(content: bytes) -> None:
        link = await life.link(content, keyed=False)
        await life.put(link, content)

    await asyncio.gather(upload(one), upload(other))
    await asyncio.gather(life.complete(one, other), life.complete(one, other))


async def illustrated(life: Life) -> None:
    """A picture is added after the audio is promised."""
    audio, image = life.content(), life.content()
    await life.create()
    await life.put(await life.link(audio), audio)
    await life.complete(audio)
    link = await life.link(image, IMAGE)
    await life.put(link, image)
    await life.complete(audio, image)
    await life.look(link.media_id, image)


async def abandoned(life: Life) -> None:
    """The client dies after the PUT, or during it: the reconciler explains what is left."""
    content = life.content(large=life.random.random() < 0.3)
    await life.create()
    link = await life.link(content)
    if life.random.random() < 0.8:
        await life.put(link, content)


async def deleted(life: Life) -> None:
    """Promised, then deleted."""
    await plain(life)
    await life.delete()


async def deleted_half_done(life: Life) -> None:
    """Promised, then deleted while another upload waits for its completion: the job finds an object."""
    await plain(life)
    image = life.content()
    await life.put(await life.link(image, IMAGE), image)
    await life.delete()


async def deleted_meanwhile(life: Life) -> None:
    """Deleted while the completion runs: in either order nothing is left."""
    content = life.content(large=life.random.random() < 0.5)
    await life.create()
    await life.put(await life.link(content), content)
    await asyncio.gather(life.complete(content, or_gone=True), life.delete())


async def held(life: Life) -> None:
    """Promised, then deleted while a legal hold keeps it, then released."""
    await plain(life)
    await life.hold()
    await life.delete()
    await life.release()


async def forgotten(life: Life) -> None:
    """Promised, then deleted with its end user."""
    await plain(life)
    await life.forget()


# Weights of the lives.
LIVES: tuple[tuple[Callable[[Life], Awaitable[None]], int], ...] = (
    (plain, 8),
    (large, 4),
    (refused_first, 1),
    (refused_later, 1),
    (slipped, 1),
    (lost_link, 1),
    (rivals, 2),
    (illustrated, 2),
    (abandoned, 1),
    (deleted, 2),
    (deleted_meanwhile, 2),
    (held, 1),
)
