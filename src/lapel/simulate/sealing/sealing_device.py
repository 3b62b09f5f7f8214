"""The firmware of a device that seals its recordings, and deletes a copy only on a verified receipt."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple
from uuid import UUID

from lapel.simulate.sealing.audio_seal import SealedAudio, SealKeys, data_key_of, seal_audio
from lapel.simulate.sealing.device_refusals import RefusalCode, insist
from lapel.simulate.sealing.key_derivation import device_identity, sha256
from lapel.simulate.sealing.key_manifest import CHANNELS, write_manifest
from lapel.simulate.sealing.signed_documents import (
    GrantedUpload,
    PublicKeys,
    StorageReceipt,
    read_authorization,
    read_receipt,
)

NONCE_BYTES: Final = 16
# Encoding 1, highest profile 2, 24 bytes; batches, contexts and recovery; the sizes of its buffers.
CAPABILITIES: Final = bytes.fromhex("010218007f03000000040004f40010000800000010000000")
_SKEW = 300  # seconds that the server's clock may be ahead


class Provisioning(NamedTuple):
    """What the maker writes into every device of a project: its public keys, and the environment (0 to 2)."""

    keys: PublicKeys
    environment: int


class WantedUpload(NamedTuple):
    """What a phone asks the device to take part in, and the device's present binding."""

    session_id: str
    owner_revision: int
    binding_generation: int
    channel: str


class _Policy(NamedTuple):
    """The newest policy document that the device has obeyed."""

    binding_generation: int
    revision: int
    policy: int
    configuration: bytes


class SealingDevice:
    """The flash memory of one device: sealed recordings, authorizations and its policy survive a restart.

    Recordings go by the device's own numbers. All methods that take a document raise DeviceRefusal when the
    device does not obey it; nothing but the nonce is changed then.
    """

    def __init__(
        self, serial_number: str, provisioning: Provisioning, dice: Random, clock: Callable[[], float]
    ) -> None:
        """`clock`: Unix seconds."""
        self.nonce = dice.randbytes(NONCE_BYTES)
        self._identity = device_identity(serial_number)
        self._keys, self._environment = provisioning
        self._dice = dice
        self._clock = clock
        self._root_key = dice.randbytes(32)
        self._policy: _Policy | None = None
        self._stored: dict[int, SealedAudio] = {}
        self._granted: dict[int, GrantedUpload] = {}
        self._receipts: dict[int, bytes] = {}

    def restart(self) -> None:
        """After a restart the device expects authorizations for another nonce."""
        self.nonce = self._dice.randbytes(NONCE_BYTES)

    def store(self, number: int, plain: bytes, uuid: UUID) -> SealedAudio:
        """Seals a recording with a key of its own, and forgets the plain text and the key."""
        draw = self._dice.randbytes
        keys = SealKeys(self._root_key, draw(32), draw(12), draw(12))
        sealed = self._stored[number] = seal_audio(plain, uuid, 1, keys)
        return sealed

    def holds(self, number: int) -> bool:
        """Whether the device still has its copy."""
        return number in self._stored

    def has_receipt(self, number: int) -> bool:
        """Whether a receipt for the recording was verified."""
        return number in self._receipts

    def sealed(self, number: int) -> SealedAudio:
        """The device's copy. Raises KeyError once it is deleted."""
        return self._stored[number]

    def authorize(self, number: int, document: bytes, wanted: WantedUpload) -> bytes:
        """Obeys an authorization; returns the manifest for it, which has the key for the server alone.

        The nonce turns over at each well-formed authorization, obeyed or not.
        """
        sealed = self._stored[number]
        granted = read_authorization(document, self._keys)
        nonce = self.nonce
        self.restart()
        insist(granted.nonce == nonce, RefusalCode.NO_AUTHORIZATION, "it is for another nonce")
        self._check(granted, sealed, wanted)
        self._check_policy(granted)
        previous = self._granted.get(number)
        if previous is not None and previous.session == granted.session:
            is_newer = granted.owner_revision > previous.owner_revision
            insist(is_newer, RefusalCode.REPLAY_CONFLICT, "an older owner of the session")
        self._policy = _Policy(
            granted.binding_generation, granted.policy_revision, granted.policy, granted.configuration
        )
        self._granted[number] = granted
        return write_manifest(granted, sealed, data_key_of(sealed, self._root_key), wanted.channel)

    def confirm(self, number: int, document: bytes) -> SealedAudio | None:
        """Deletes the copy and returns it, if the receipt is for it. None: this receipt was here before."""
        known = self._receipts.get(number)
        if known is not None:
            insist(known == sha256(document), RefusalCode.REPLAY_CONFLICT, "a second receipt")
            return None
        receipt = read_receipt(document, self._keys)
        self._check_receipt(receipt, self._stored[number], self._granted[number])
        self._receipts[number] = sha256(document)
        del self._granted[number]
        return self._stored.pop(number)

    def _check(self, granted: GrantedUpload, sealed: SealedAudio, wanted: WantedUpload) -> None:
        self._check_environment(granted)
        self._check_time(granted)
        insist(granted.device == self._identity, RefusalCode.IDENTITY, "another device")
        is_session = (str(granted.session), granted.owner_revision) == wanted[:2]
        insist(is_session, RefusalCode.IDENTITY, f"session {granted.session}, {granted.owner_revision}")
        is_bound = granted.binding_generation == wanted.binding_generation
        insist(is_bound, RefusalCode.BINDING, f"generation {granted.binding_generation}")
        is_recording = (granted.recording, granted.recording_generation) == (sealed.uuid, sealed.generation)
        insist(is_recording, RefusalCode.RECORDING, f"recording {granted.recording}")
        is_sealed = (granted.length, granted.ciphertext_sha256) == (len(sealed.data), sealed.sha256)
        insist(is_sealed, RefusalCode.STORAGE, "another sealed object")
        may = granted.channels & (1 << (CHANNELS[wanted.channel] - 1))
        insist(bool(may), RefusalCode.STORAGE, f"the channel {wanted.channel} is not allowed")

    def _check_environment(self, document: GrantedUpload | StorageReceipt) -> None:
        is_ours = document.environment == self._environment
        detail = f"{document.environment} instead of {self._environment}"
        insist(is_ours, RefusalCode.ENVIRONMENT, detail)

    def _check_time(self, document: GrantedUpload | StorageReceipt) -> None:
        begins = document.issued_at - _SKEW
        is_now = begins <= self._clock() < document.expires_at
        insist(is_now, RefusalCode.EXPIRED, f"{document.issued_at} to {document.expires_at}")

    def _check_policy(self, granted: GrantedUpload) -> None:
        """A policy never goes back, and says the same if its revision is the same."""
        held = self._policy
        if held is None:
            return
        told = (granted.binding_generation, granted.policy_revision)
        insist(told >= held[:2], RefusalCode.DOWNGRADE, f"policy {told} after {held[:2]}")
        if told == held[:2]:
            is_same = (granted.policy, granted.configuration) == held[2:]
            insist(is_same, RefusalCode.DOWNGRADE, f"policy {told} says two things")

    def _check_receipt(self, receipt: StorageReceipt, sealed: SealedAudio, granted: GrantedUpload) -> None:
        self._check_environment(receipt)
        self._check_time(receipt)
        found = (
            receipt.owner_revision,
            receipt.binding_generation,
            receipt.session,
            receipt.tenant,
            receipt.device,
            receipt.configuration,
        )
        expected = (
            granted.owner_revision,
            granted.binding_generation,
            granted.session,
            granted.tenant,
            granted.device,
            granted.configuration,
        )
        insist(found == expected, RefusalCode.IDENTITY, "it is for another session")
        is_recording = (receipt.recording, receipt.recording_generation) == (sealed.uuid, sealed.generation)
        insist(is_recording, RefusalCode.RECORDING, f"recording {receipt.recording}")
        kept = (receipt.ciphertext_sha256, receipt.plaintext_sha256)
        is_kept = kept == (sealed.sha256, sealed.plaintext_sha256)
        insist(is_kept, RefusalCode.RECEIPT, "the server has kept something else")
