"""Verifies the signature of a request: Signature Version 4, in headers or in the query.

Source: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API reference.
"""

import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from lapel.embedded.s3.protocol.mismatch import NOWHERE, SignedElsewhere, reason
from lapel.embedded.s3.protocol.request import Request
from lapel.embedded.s3.s3_errors import S3Error
from lapel.foundation.core.clock import Clock
from lapel.foundation.storage.sigv4 import (
    ALGORITHM,
    MAX_EXPIRES,
    UNSIGNED_PAYLOAD,
    signature,
    signing_key,
)

MAX_SKEW = 15 * 60
"""The most seconds between the time in a request and the server's time, as in S3."""

_HEADER = re.compile(
    rf"{ALGORITHM} Credential=(?P<credential>[^,\s]+),\s*SignedHeaders=(?P<signed>[^,\s]+),\s*"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)
_QUERY_PARAMETERS = (
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)
_DATE_LENGTH = len("YYYYMMDDTHHMMSSZ")
_EXPIRES = re.compile(r"[0-9]{1,6}")
_PAYLOAD = re.compile(r"[0-9a-f]{64}|UNSIGNED-PAYLOAD|STREAMING-[A-Z0-9-]+")
# CloudFront adds these headers after the client has signed.
_NEED_NOT_BE_SIGNED = frozenset({b"x-amz-cf-id"})


class Signed(NamedTuple):
    """A verified signature: the parts that it covers, and the values on which signatures of chunks build."""

    headers: frozenset[str]
    payload: str
    """The signed value of x-amz-content-sha256: a hash, or a word such as UNSIGNED-PAYLOAD."""
    timestamp: str
    scope: str
    key: bytes
    signature: str


class _Claim(NamedTuple):
    credential: str
    timestamp: str
    signed: str
    signature: str
    malformed: str
    """The error code to answer with, if a value of the claim is malformed."""


class Verifier:
    """Checks signatures against a fixed set of keys. Keeps the signing key of each day."""

    def __init__(
        self,
        secrets: Mapping[str, str],
        region: str,
        clock: Clock,
        elsewhere: SignedElsewhere = NOWHERE,
    ) -> None:
        """`elsewhere`: what a link that does not match may have been signed for."""
        self._elsewhere = elsewhere
        self._secrets = dict(secrets)
        self._region = region
        self._clock = clock
        self._keys: dict[tuple[str, str], bytes] = {}

    def verify(self, request: Request) -> Signed:
        """Return the signed parts. Raises `S3Error` for a missing, wrong, expired or too early signature."""
        authorization = request.headers.get(b"authorization")
        in_query = "X-Amz-Algorithm" in request.query or "X-Amz-Signature" in request.query
        if authorization is not None and in_query:
            raise S3Error("InvalidArgument", "Only one signature is allowed: in a header or in the query.")
        if in_query:
            return self._verify_query(request)
        if authorization is not None:
            return self._verify_header(request, request.header("authorization") or "")
        raise S3Error("AccessDenied", "This store answers signed requests only.")

    def _verify_query(self, request: Request) -> Signed:
        query = request.query
        malformed = "AuthorizationQueryParametersError"
        if query.get("X-Amz-Algorithm") != ALGORITHM:
            raise S3Error(malformed, f"X-Amz-Algorithm is {ALGORITHM} and nothing else.")
        try:
            credential, timestamp, expires, signed, given = [query[name] for name in _QUERY_PARAMETERS]
        except KeyError as missing:
            raise S3Error(malformed, f"The query lacks {missing.args[0]}.") from None
        if "X-Amz-Security-Token" in query:
            raise S3Error("InvalidToken", "This store issues no session tokens.")
        lifetime = int(expires) if _EXPIRES.fullmatch(expires) else 0
        if not 1 <= lifetime <= MAX_EXPIRES:
            raise S3Error(malformed, f"X-Amz-Expires is 1 to {MAX_EXPIRES} seconds.")
        payload = (
            query.get("X-Amz-Content-Sha256") or request.header("x-amz-content-sha256") or UNSIGNED_PAYLOAD
        )
        verified = self._check(request, _Claim(credential, timestamp, signed, given, malformed), payload)
        age = self._clock.now().timestamp() - _seconds(timestamp)
        if age > lifetime:
            raise S3Error("AccessDenied", "Request has expired.")
        if age < -MAX_SKEW:
            raise S3Error("AccessDenied", "Request is not yet valid.")
        return verified

    def _verify_header(self, request: Request, authorization: str) -> Signed:
        malformed = "AuthorizationHeaderMalformed"
        parts = _HEADER.fullmatch(authorization)
        if parts is None:
            raise S3Error(malformed, "The Authorization header is not one of Signature Version 4.")
        if b"x-amz-security-token" in request.headers:
            raise S3Error("InvalidToken", "This store issues no session tokens.")
        payload = request.header("x-amz-content-sha256")
        if payload is None or not _PAYLOAD.fullmatch(payload):
            raise S3Error("InvalidRequest", "x-amz-content-sha256 is missing or has an invalid value.")
        timestamp = request.header("x-amz-date") or ""
        claim = _Claim(parts["credential"], timestamp, parts["signed"], parts["signature"], malformed)
        verified = self._check(request, claim, payload)
        if abs(self._clock.now().timestamp() - _seconds(timestamp)) > MAX_SKEW:
            raise S3Error("RequestTimeTooSkewed", "The request's time differs too much from the server's.")
        return verified

    def _check(self, request: Request, claim: _Claim, payload: str) -> Signed:
        """Compute the signature of the request as it arrived, and compare it with the claim."""
        access_key, _, scope = claim.credential.partition("/")
        date = claim.timestamp[:8]
        # A longer one is no key of the cache of `_seconds`: an unsigned request would fill it with 64 MB.
        if len(claim.timestamp) != _DATE_LENGTH or _seconds(claim.timestamp) < 0:
            raise S3Error(claim.malformed, "The date is not YYYYMMDDTHHMMSSZ.")
        if scope != f"{date}/{self._region}/s3/aws4_request":
            raise S3Error(
                claim.malformed, f"The credential's scope is not <date>/{self._region}/s3/aws4_request."
            )
        names = claim.signed.split(";")
        values = _signed_values(request, names, claim.malformed)
        key = self._keys.get((access_key, date)) or self._key(access_key, date)
        canonical = _canonical(request, request.method, values, claim.signed, payload)
        expected = signature(key, claim.timestamp, scope, canonical)
        given = claim.signature.encode()
        if not hmac.compare_digest(expected.encode(), given):

            def matches(method: str, others: Mapping[str, str]) -> bool:
                tried = _canonical(request, method, {**values, **others}, claim.signed, payload)
                return hmac.compare_digest(signature(key, claim.timestamp, scope, tried).encode(), given)

            raise S3Error("SignatureDoesNotMatch", reason(request, names, self._elsewhere, matches))
        return Signed(frozenset(names), payload, claim.timestamp, scope, key, expected)

    def _key(self, access_key: str, date: str) -> bytes:
        secret = self._secrets.get(access_key)
        if secret is None:
            raise S3Error("InvalidAccessKeyId", "There is no such access key.")
        if len(self._keys) >= 64:  # a request may name any day
            self._keys.clear()
        key = self._keys[access_key, date] = signing_key(secret, date, self._region)
        return key


def _canonical(request: Request, method: str, values: Mapping[str, str], signed: str, payload: str) -> str:
    """The canonical request, which is signed. `values`: of the signed headers, in their order."""
    lines = ""
    for name, value in values.items():
        lines += f"{name}:{' '.join(value.split())}\n"
    return f"{method}\n{request.canonical_path}\n{request.canonical_query}\n{lines}\n{signed}\n{payload}"


def _signed_values(request: Request, names: list[str], malformed: str) -> dict[str, str]:
    """Return the values of the signed headers; refuse a list that lacks a header which must be signed."""
    if "host" not in names or names != sorted(set(names)):
        raise S3Error(malformed, "SignedHeaders must be a sorted list of different names that includes host.")
    values: dict[str, str] = {}
    for name in names:
        value = request.header(name)
        if value is None:
            if name == "content-length":
                raise S3Error(
                    "MissingContentLength",
                    "The length was signed, so Content-Length must be sent instead of chunks.",
                )
            raise S3Error("SignatureDoesNotMatch", f"The signed header {name} was not sent.")
        values[name] = value
    for header in request.headers:
        if (
            header.startswith(b"x-amz-")
            and header not in _NEED_NOT_BE_SIGNED
            and header.decode("ascii", "replace") not in names
        ):
            raise S3Error("AccessDenied", "Every x-amz header that is sent must be signed.")
    return values


@lru_cache(maxsize=1024)
def _seconds(timestamp: str) -> float:
    """Return seconds since 1970 of YYYYMMDDTHHMMSSZ, or -1 for other text."""
    if not re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", timestamp, re.ASCII):
        return -1
    try:
        return datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return -1
