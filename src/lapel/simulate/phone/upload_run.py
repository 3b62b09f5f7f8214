"""One run of the app over one sealed recording, in the order of calls that the app keeps.

The recording and the session are created once. The manifest is sent before the PUT, and only the refusal
that says that nothing is staged allows the PUT. A run may end anywhere; the next one continues from the note.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, NamedTuple

import msgspec

from lapel.simulate.client.caller import CallFailed, SimulationError
from lapel.simulate.phone.strict_answers import (
    AnnouncedReply,
    ManifestAnswer,
    SessionReply,
    StagingReply,
    check_staging,
    document_of,
    error_code,
    read_strictly,
)
from lapel.simulate.phone.strict_caller import StrictCaller
from lapel.simulate.phone.upload_note import UploadNote, UploadNotes
from lapel.simulate.sealing.device_refusals import DeviceRefusal, RefusalCode
from lapel.simulate.sealing.key_derivation import sha256
from lapel.simulate.sealing.sealing_device import CAPABILITIES, SealingDevice, WantedUpload
from lapel.simulate.sealing.signed_documents import AUTHORIZATION_BYTES, RECEIPT_BYTES

STAGING_MISSING: Final = "encrypted_upload_v2_staging_missing"
MOST_POLLS: Final = 60
MOST_RECOVERIES: Final = 3  # in one run
_ANY_2XX: Final = range(200, 300)
_ACCEPTED: Final = ("ready", "processing", "published")
_CRASHES = 0.03  # share of answers after which phone and device restart
_RESTARTS = 0.1  # share of new sessions whose authorization finds a device that has restarted
_CANCELS = 0.04  # share of new sessions that are cancelled at once
_REPEATS = 0.1  # share of calls that are needlessly repeated


class PhoneCrashed(Exception):
    """Phone and device restart here; what was not saved is gone."""


class UploadPlace(NamedTuple):
    """Whose recording is uploaded. `uuid` and `number`: the recording's, for the server and on the device."""

    device_id: str
    end_user_id: str
    binding_generation: int
    uuid: str
    number: int


class PhoneTools(NamedTuple):
    """What a run uses. `clock`: Unix seconds. `poll`: seconds between two looks at a session. `find`: the id
    of the recording of this device that began then, if the server has it."""

    caller: StrictCaller
    token: Callable[[], str]
    clock: Callable[[], float]
    poll: float
    find: Callable[[str, str], Awaitable[str | None]]


class UploadRun:
    """One run. `run` and `receipt` raise CallFailed when a call fails for now, SimulationError when an answer
    breaks the contract, DeviceRefusal when the device refuses a document, and PhoneCrashed."""

    def __init__(
        self, tools: PhoneTools, place: UploadPlace, firmware: SealingDevice, notes: UploadNotes, dice: Random
    ) -> None:
        self._tools = tools
        self._place = place
        self._firmware = firmware
        self._notes = notes
        self._dice = dice
        self._note = notes.load(place.number)
        self._recoveries = 0

    @property
    def note(self) -> UploadNote:
        """The present note."""
        return self._note

    async def run(self) -> SessionReply:
        """Continues the upload until its session is published."""
        if not self._note.recording_id:
            await self._announce()
        session = await self._resume() if self._note.session_id else await self._open()
        while not self._note.is_accepted and session.state not in _ACCEPTED:
            if session.state not in ("created", "staging", "staged", "expired"):
                raise SimulationError(f"the session {session.session_id} is {session.state}")
            has_expired = session.state == "expired" or session.expires <= self._tools.clock()
            if has_expired or not self._note.manifest:
                session = await self._recover(has_expired=has_expired)
            elif session.state == "created":
                raise SimulationError("a session that was just made is not in staging")
            else:
                await self._deliver(session)
        return await self._await_publication()

    async def receipt(self, session: SessionReply) -> bytes:
        """The receipt of a published session. It never changes, and the manifest is taken for ever."""
        facts = (session.published_at, session.completion_receipt_base64, session.completion_receipt_sha256)
        if msgspec.UNSET in facts or session.plaintext_length != self._note.plaintext_length:
            raise SimulationError(f"the published session {session.session_id} lacks a fact, or has another")
        receipt = document_of(str(facts[1]), RECEIPT_BYTES, str(facts[2]))
        if self._draws(_REPEATS):
            again = await self._read()
            if again != session:
                raise SimulationError(f"the published session {session.session_id} has changed")
        may_send = self._note.manifest and not self._is_of_earlier_binding
        if may_send and self._draws(_REPEATS) and not await self._send_manifest():
            raise SimulationError("an accepted manifest is not taken again")
        return receipt

    async def _announce(self) -> None:
        """Creates the recording, once. A creation with an unknown outcome is looked up before the next."""
        note, place = self._note, self._place
        if note.unknown == "recording":
            note.recording_id = await self._tools.find(place.device_id, note.started_at) or ""
            note.unknown = ""
            self._save()
            if note.recording_id:
                return
        body: dict[str, object] = {
            "device_id": place.device_id,
            "end_user_id": place.end_user_id,
            "upload_method": "ble",
            "streaming": False,
            "metadata": {"started_at": note.started_at, "ended_at": note.ended_at},
        }
        note.unknown = "recording"
        self._save()
        answer = await self._create("create recording", "/recordings", body, _ANY_2XX)
        note.recording_id, note.unknown = read_strictly(answer, AnnouncedReply).id, ""
        self._save()

    async def _open(self) -> SessionReply:
        """Creates the session, once. If the outcome of that is unknown, the user asks with the same body."""
        note, place = self._note, self._place
        is_again = note.unknown == "session" and note.binding_generation == place.binding_generation
        if not is_again:
            note.unknown, note.nonce = "session", self._firmware.nonce
            note.binding_generation = place.binding_generation
            self._save()
        body: dict[str, object] = {
            "device_id": place.device_id,
            "binding_generation": place.binding_generation,
            "recording_uuid": place.uuid,
            "recording_generation": 1,
            "storage_format": "bota_enc_v2",
            "channel": note.channel,
            "capabilities_base64": _base64(CAPABILITIES),
            "auth_nonce_base64": _base64(note.nonce),
            "ciphertext_length": note.ciphertext_length,
            "ciphertext_sha256": note.ciphertext_sha256.hex(),
        }
        path = f"/recordings/{note.recording_id}/encrypted-upload-v2/sessions"
        answer = await self._create("open session", path, body, (200, 201) if is_again else (201,))
        session = read_strictly(answer, SessionReply)
        if session.owner_revision != 1:
            raise SimulationError(f"a new session has the owner revision {session.owner_revision}")
        note.unknown = ""
        self._take(session)
        if self._draws(_CANCELS):
            await self._cancel()
            return await self._open()
        return session

    async def _resume(self) -> SessionReply:
        """The state of the noted session, after what was begun is ended.

        A session of an earlier binding can only be read: unless its manifest was accepted, a new one is made.
        """
        if self._is_of_earlier_binding:
            session = await self._read()
            if session.state in _ACCEPTED:
                return session
            self._forget_session()
            return await self._open()
        if self._note.cancelling:
            await self._cancel()
            return await self._open()
        if self._note.recovering:
            return await self._recover(has_expired=self._note.has_expired)
        return await self._read()

    async def _recover(self, *, has_expired: bool) -> SessionReply:
        """A successor of the session, for the device's nonce. A recovery that began is repeated first."""
        note = self._note
        if self._recoveries == MOST_RECOVERIES:
            detail = f"recovered {MOST_RECOVERIES} times, and it cannot be used yet; do the clocks differ?"
            raise CallFailed("recover session", None, detail)
        self._recoveries += 1
        if not note.recovering:
            note.recovering, note.has_expired, note.nonce = True, has_expired, self._firmware.nonce
            note.manifest = b""
            self._save()
        body: dict[str, object] = {
            "owner_revision": note.owner_revision,
            "auth_nonce_base64": _base64(note.nonce),
            "capabilities_base64": _base64(CAPABILITIES),
        }
        if not note.has_expired:
            body["reason"] = "nonce_changed"
        answer = await self._call("recover session", "POST", "/recover", body, (200, 201))
        session = read_strictly(answer, SessionReply)
        if self._draws(_REPEATS):
            again = read_strictly(
                await self._call("recover session", "POST", "/recover", body, (200, 201)), SessionReply
            )
            if (again.session_id, again.authorization_sha256) != (
                session.session_id,
                session.authorization_sha256,
            ):
                raise SimulationError("the same recovery has two successors")
        if session.session_id == note.session_id or session.owner_revision <= note.owner_revision:
            raise SimulationError(f"the successor {session.session_id} of a session is not newer")
        note.recovering = False
        self._take(session)
        return session

    def _take(self, session: SessionReply) -> None:
        """Notes a new session, and has the device export the manifest for it."""
        note = self._note
        note.session_id, note.owner_revision, note.manifest = session.session_id, session.owner_revision, b""
        self._check(session)
        if session.state == "staging":
            if session.staging is msgspec.UNSET:
                raise SimulationError("a new session does not say where to PUT")
            check_staging(session.staging, note.ciphertext_sha256)
        document = document_of(
            session.authorization_base64, AUTHORIZATION_BYTES, session.authorization_sha256
        )
        generation = self._place.binding_generation
        wanted = WantedUpload(note.session_id, note.owner_revision, generation, note.channel)
        if self._draws(_RESTARTS):
            self._firmware.restart()
        try:
            note.manifest = self._firmware.authorize(self._place.number, document, wanted)
        except DeviceRefusal as refusal:
            if refusal.code != RefusalCode.NO_AUTHORIZATION:  # else the device has restarted: recover
                raise
        self._save()

    async def _deliver(self, session: SessionReply) -> None:
        """Manifest; if nothing is staged, the PUT; and the manifest again."""
        if await self._send_manifest():
            return
        if session.state == "staged":
            raise SimulationError("a session is staged, and nothing is staged")
        body: dict[str, object] = {"owner_revision": self._note.owner_revision}
        answer = await self._call("staging-url", "POST", "/staging-url", body, (200,))
        staging = read_strictly(answer, StagingReply)
        check_staging(staging, self._note.ciphertext_sha256)
        sealed = self._firmware.sealed(self._place.number)
        await self._tools.caller.put(staging.url, staging.headers, sealed.data)
        self._perhaps_crash()
        if session.expires <= self._tools.clock():
            return  # recovered next
        if not await self._send_manifest():
            raise SimulationError("a sealed recording was PUT, and nothing is staged")

    async def _send_manifest(self) -> bool:
        """False: nothing is staged yet. Any other refusal ends the run."""
        note = self._note
        body = {
            "owner_revision": note.owner_revision,
            "manifest_base64": _base64(note.manifest),
            "manifest_sha256": sha256(note.manifest).hex(),
        }
        answer = await self._tools.caller.safe(
            "manifest", "POST", f"{self._path}/manifest", self._tools.token, body, (200, 202, 409)
        )
        self._perhaps_crash()
        if answer.status == 409:
            code = error_code(answer.content)
            if code == STAGING_MISSING:
                return False
            raise SimulationError(f"a manifest is refused: 409 {code}")
        accepted = read_strictly(answer.content, ManifestAnswer)
        is_ours = (accepted.session_id, accepted.owner_revision) == (note.session_id, note.owner_revision)
        if not is_ours or (answer.status == 200) != (accepted.state == "published"):
            raise SimulationError(f"a manifest is answered {answer.status} with {accepted}")
        if not note.is_accepted:
            note.is_accepted = True
            self._save()
        return True

    async def _await_publication(self) -> SessionReply:
        for poll in range(MOST_POLLS):
            if poll:
                await asyncio.sleep(self._tools.poll)
            session = await self._read()
            if session.state == "published":
                return session
            if session.state not in ("ready", "processing"):
                raise SimulationError(
                    f"the session {session.session_id}, whose manifest was accepted, is {session.state}: "
                    f"{session.error}"
                )
        raise CallFailed("poll session", None, f"not published after {MOST_POLLS} polls")

    async def _cancel(self) -> None:
        """Cancels the session, now and then twice. A new one may then be created."""
        self._note.cancelling = True
        self._save()
        body: dict[str, object] = {"owner_revision": self._note.owner_revision}
        for _ in range(2 if self._draws(_REPEATS) else 1):
            await self._call("cancel session", "DELETE", "", body, (204,))
        self._forget_session()

    def _forget_session(self) -> None:
        note = self._note
        note.session_id, note.owner_revision, note.manifest = "", 0, b""
        note.cancelling = note.recovering = False
        self._save()

    async def _read(self) -> SessionReply:
        session = read_strictly(await self._call("poll session", "GET", "", None, (200,)), SessionReply)
        self._check(session)
        return session

    def _check(self, session: SessionReply) -> None:
        """Raises SimulationError unless the answer is about this session, device and sealed recording."""
        note, place = self._note, self._place
        found = (
            session.session_id, session.owner_revision, session.channel, session.recording_id,
            session.device_id, session.end_user_id, session.ciphertext_length, session.ciphertext_sha256,
        )  # fmt: skip
        expected = (
            note.session_id, note.owner_revision, note.channel, note.recording_id, place.device_id,
            place.end_user_id, note.ciphertext_length, note.ciphertext_sha256.hex(),
        )  # fmt: skip
        if found != expected:
            raise SimulationError(f"a session is {found} instead of {expected}")

    @property
    def _is_of_earlier_binding(self) -> bool:
        """Whether the session can only be read."""
        return self._note.binding_generation != self._place.binding_generation

    @property
    def _path(self) -> str:
        note = self._note
        return f"/recordings/{note.recording_id}/encrypted-upload-v2/sessions/{note.session_id}"

    async def _call(
        self, name: str, method: str, below: str, body: dict[str, object] | None, expected: tuple[int, ...]
    ) -> bytes:
        answer = await self._tools.caller.safe(
            name, method, self._path + below, self._tools.token, body, expected
        )
        self._perhaps_crash()
        return answer.content

    async def _create(
        self, name: str, path: str, body: dict[str, object], expected: range | tuple[int, ...]
    ) -> bytes:
        try:
            answer = await self._tools.caller.once(name, path, self._tools.token, body, expected)
        except CallFailed as fault:
            if fault.status in (401, 403):  # surely nothing was created
                self._note.unknown = ""
                self._save()
            raise
        self._perhaps_crash()
        return answer.content

    def _save(self) -> None:
        self._notes.save(self._place.number, self._note)

    def _perhaps_crash(self) -> None:
        if self._draws(_CRASHES):
            raise PhoneCrashed

    def _draws(self, share: float) -> bool:
        return self._dice.random() < share


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
