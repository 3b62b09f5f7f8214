"""What a handler gets."""

from typing import NamedTuple

from lapel.foundation.storage.embedded.folder import Bucket, Folder
from lapel.foundation.storage.embedded.request import Request
from lapel.foundation.storage.embedded.signature import Signed


class Call(NamedTuple):
    """A request whose signature was checked, and where it goes.

    `key` is empty for calls on a bucket. `stall` is how many seconds a client may stand still.
    """

    request: Request
    signed: Signed
    folder: Folder
    bucket: Bucket
    key: str
    stall: float
