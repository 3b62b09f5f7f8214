"""The errors of an object store that callers need to distinguish."""

import re

_CODE = re.compile(r"<Code>(\w+)</Code>")
# What the error codes of S3 say about keys that do not work.
WRONG_KEYS = {
    "SignatureDoesNotMatch": "the store refuses the secret of the access key; correct "
    "LAPEL_S3_SECRET_ACCESS_KEY, or LAPEL_S3_REGION if the bucket is in another region",
    "InvalidAccessKeyId": "the store knows no access key with this id; correct LAPEL_S3_ACCESS_KEY_ID",
    "InvalidToken": "the store refuses the session token of the access key; correct LAPEL_S3_SESSION_TOKEN",
    "ExpiredToken": "the session token of the access key has expired; set a new LAPEL_S3_SESSION_TOKEN",
    "RequestTimeTooSkewed": "the clocks of this machine and of the store differ by more than 15 minutes; run "
    "a time service such as chrony",
}


def error_code(text: str) -> str:
    """The error code in an answer of the store, or in a message that repeats one; empty without one.

    Source: "REST error responses", Amazon S3 API reference.
    """
    found = _CODE.search(text)
    return found[1] if found else ""


class StoreUnavailable(Exception):
    """The store, or its credentials, cannot be used right now; the same call may succeed later."""


class ObjectCut(StoreUnavailable):
    """The store has less of an object than was asked for: the object is shorter than it was."""


class ObjectDiffers(StoreUnavailable):
    """The store got other bytes than the SHA-256 that was sent with them; it keeps none of them."""


class ObjectMissing(Exception):
    """No object has this name. The name is the only argument."""
