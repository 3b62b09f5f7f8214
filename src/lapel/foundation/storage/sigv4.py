"""The functions of AWS Signature Version 4 that signers of links and of requests, and the verifier, share.

Source: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API reference.
"""

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
MAX_EXPIRES = 604_800
"""The longest lifetime of a pre-signed URL, in seconds (seven days)."""

_PERCENT = {bytes([code]): b"%%%02X" % code for code in range(256)}
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.~-"
# By byte. Short values with several reserved characters take less time this way than with a pattern.
_ENCODED = [chr(code) if code in _UNRESERVED else f"%{code:02X}" for code in range(256)]
_RESERVED_IN_PATH = re.compile(rb"[^A-Za-z0-9_.~/-]")


def _percent(match: re.Match[bytes]) -> bytes:
    return _PERCENT[match[0]]


def encode(value: bytes) -> str:
    """Percent-encode all but the unreserved characters of RFC 3986, as SigV4 requires of query parts."""
    return "".join(map(_ENCODED.__getitem__, value))


def encode_path(value: bytes) -> str:
    """Like `encode`, but a slash stays a slash: an object's path is encoded once and never normalised."""
    return _RESERVED_IN_PATH.sub(_percent, value).decode("ascii")


def signing_key(secret: str, date: str, region: str) -> bytes:
    """The key of one day (`date` is YYYYMMDD) for the service s3; cache it, because it costs four HMACs."""
    key = hmac.digest(f"AWS4{secret}".encode(), date.encode(), "sha256")
    for part in (region.encode(), b"s3", b"aws4_request"):
        key = hmac.digest(key, part, "sha256")
    return key


def signature(key: bytes, timestamp: str, scope: str, canonical_request: str) -> str:
    """Sign a canonical request; `timestamp` is YYYYMMDDTHHMMSSZ, `scope` is date/region/s3/aws4_request."""
    digest = sha256(canonical_request.encode()).hexdigest()
    text = f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}"
    return hmac.digest(key, text.encode(), "sha256").hex()


def authorization(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    *,
    access_key_id: str,
    key: bytes,
    timestamp: str,
    scope: str,
) -> str:
    """The Authorization header of a request; it signs all `headers`, whose names are lower-case.

    `path` is encoded, `query` is in canonical form, and `headers` have `x-amz-content-sha256`. `key`,
    `timestamp` and `scope`: see `signature`.
    """
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    names = ";".join(sorted(headers))
    request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{headers['x-amz-content-sha256']}"
    proof = signature(key, timestamp, scope, request)
    return f"{ALGORITHM} Credential={access_key_id}/{scope}, SignedHeaders={names}, Signature={proof}"
