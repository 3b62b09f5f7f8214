"""The argument of every handler."""

from typing import NamedTuple

from lapel.embedded.s3.files.folder import Bucket, Folder
from lapel.embedded.s3.protocol.request import Request
from lapel.embedded.s3.protocol.signature import Signed

MAX_OBJECT = 5 << 30
"""The most bytes of one PUT or of one part, as in S3."""


class SignedCall(NamedTuple):
    """A request with a verified signature, and its target.

    `key` is empty for calls on a bucket. `stall`: seconds for which a client may pause. `largest`: the most
    bytes that the request may PUT.
    """

    request: Request
    signed: Signed
    folder: Folder
    bucket: Bucket
    key: str
    stall: float
    largest: int
