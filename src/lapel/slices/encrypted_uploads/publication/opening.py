"""Opens a staged object piece by piece, and verifies it against its manifest in the contract's order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.slices.encrypted_uploads.documents import manifest
from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.documents.stored_object.frame import HEADER_LENGTH
from lapel.slices.encrypted_uploads.documents.stored_object.opener import BlockOpener
from lapel.slices.encrypted_uploads.publication.ogg_opus import OggOpusCheck

if TYPE_CHECKING:
    from lapel.slices.encrypted_uploads.documents.manifest import UploadManifest


class Opening:
    """Give the bytes of the staged object to `feed`, in order, then call `finish`.

    The order of the verification: the header, length and SHA-256 of the whole object, the trailer, the hash
    of header and blocks, the tags, the plain text's hash, what the manifest says, and last that the plain
    text is Ogg with Opus. Until `finish` has returned, nothing may be published.
    """

    def __init__(self, expected: UploadManifest, data_key: bytes, *, hashes_plaintext: bool = True) -> None:
        """`hashes_plaintext`: False if another compares the plain text with the manifest's hash.

        Raises Refused for an impossible length.
        """
        self.expected = expected
        self._opener = BlockOpener(data_key, expected.ciphertext_length, hashes_plaintext=hashes_plaintext)
        self._audio = OggOpusCheck()
        self._no_audio: Refused | None = None
        self._received = 0  # of the header
        self._header_is_right = False
        self._whole_is_compared = False

    @property
    def whole_is_unknown(self) -> bool:
        """Whether the header is right, and the SHA-256 of the whole object was not compared yet."""
        return self._header_is_right and not self._whole_is_compared

    def feed(self, data: memoryview, into: bytearray) -> int:
        """Write the plain text that `data` completes; returns the number of bytes. See `BlockOpener.feed`.

        Raises Refused, as `BlockOpener.feed`, and for a header that is not the manifest's:
        `recording_identity_mismatch`, `digest_mismatch`.
        """
        if not self._header_is_right:
            data = self._feed_header(data, into)
        opened = self._opener.feed(data, into)
        self._hear(memoryview(into)[:opened])
        return opened

    def finish(self) -> int:
        """The duration of the audio in milliseconds. Raises Refused for anything that is not right."""
        self._whole_is_compared = True
        if self._opener.received_sha256() != self.expected.ciphertext_sha256:
            raise Refused("digest_mismatch", "The staged object has another SHA-256 than the manifest says.")
        manifest.check_opened(self.expected, self._opener.finish())
        if self._no_audio is not None:
            raise self._no_audio
        return self._audio.finish()

    def _feed_header(self, data: memoryview, into: bytearray) -> memoryview:
        """Give the opener the bytes of the header, and no others before it is compared; the others."""
        missing = HEADER_LENGTH - self._received
        self._received += len(data[:missing])
        self._opener.feed(data[:missing], into)
        if self._opener.header is not None:
            manifest.check_header(self.expected, self._opener.header)
            self._header_is_right = True
        return data[missing:]

    def _hear(self, piece: memoryview) -> None:
        """What is no audio fails last, because the document itself may be wrong."""
        if self._no_audio is None:
            try:
                self._audio.feed(piece)
            except Refused as refused:
                self._no_audio = refused
