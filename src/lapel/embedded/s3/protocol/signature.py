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
from lapel.embedded.s3.protocol.query import Query
from lapel.embedded.s3.protocol.request import Request, Target
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
)
_MALFORMED_LINK = "AuthorizationQueryParametersError"
_EXPIRES = re.compile(r"[0-9]{1,6}")
_PAYLOAD = re.compile(r"[0-9a-f]{64}|UNSIGNED-PAYLOAD|STREAMING-[A-Z0-9-]+")
# How many used links are kept, and the most bytes of path, query and host of each. They take 1 MB, and less
# than 4 MB if all are as long.
_LINKS = 256
_LONGEST = 2048
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
    """What a request says about its signature. Only the signature itself is not checked yet."""

    access_key: str
    scope: str
    timestamp: str
    seconds: float
    """The timestamp in seconds since 1970."""
    signed: str
    """The names of the signed headers, as they are signed: sorted, with semicolons between them."""


class _Link(NamedTuple):
    """The claim of a link. Links that are signed in the same second have the same one."""

    claim: _Claim
    lifetime: int
    """Seconds."""
    payload: str | None


class _Used(NamedTuple):
    """A link with the right signature, which covers the host and no other header."""

    target: Target
    link: _Link
    signed: Signed


class Verifier:
    """Checks signatures against a fixed set of keys. Keeps the signing key of each day, and used links."""

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
        # By all that the signature covers, and the signature. Only requests with a right signature add to it.
        self._used: dict[tuple[str, bytes, bytes, bytes], _Used] = {}

    def recall(self, request: Request) -> Signed | None:
        """Return the signed parts, and give the request its target, if it is a link that was verified before.

        Links are often used again: a player asks for range after range. What was verified stays true for the
        same method, path, query and host; only the time is checked again. None for all other requests, which
        `verify` accepts or refuses.
        """
        same = _same_link(request)
        used = self._used.get(same) if same else None
        if used is None or not _has_only_host(request):
            return None
        if not -MAX_SKEW <= self._age(used.link) <= used.link.lifetime:
            return None
        request.target = used.target
        return used.signed

    def verify(self, request: Request) -> Signed:
        """Return the signed parts. Raises `S3Error` for a missing, wrong, expired or too early signature."""
        authorization = request.headers.get(b"authorization")
        in_query = request.target.link_signature is not None or "X-Amz-Algorithm" in request.query
        if authorization is not None and in_query:
            raise S3Error("InvalidArgument", "Only one signature is allowed: in a header or in the query.")
        if in_query:
            return self._verify_link(request)
        if authorization is not None:
            return self._verify_header(request, request.header("authorization") or "")
        raise S3Error("AccessDenied", "This store answers signed requests only.")

    def _verify_link(self, request: Request) -> Signed:
        query = request.target.query
        link = (_link if query.is_kept else _link.__wrapped__)(query, self._region)
        given = request.target.link_signature
        if given is None:
            raise S3Error(_MALFORMED_LINK, "The query lacks X-Amz-Signature.")
        payload = link.payload or request.header("x-amz-content-sha256") or UNSIGNED_PAYLOAD
        signed = self._check(request, link.claim, given, payload)
        age = self._age(link)
        if age > link.lifetime:
            raise S3Error("AccessDenied", "Request has expired.")
        if age < -MAX_SKEW:
            raise S3Error("AccessDenied", "Request is not yet valid.")
        same = _same_link(request)
        if same and link.claim.signed == "host" and query.is_kept and sum(map(len, same)) <= _LONGEST:
            if len(self._used) >= _LINKS:
                self._used.clear()
            self._used[same] = _Used(request.target, link, signed)
        return signed

    def _age(self, link: _Link) -> float:
        """Seconds since the link was signed."""
        return self._clock.now().timestamp() - link.claim.seconds

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
        claim = _claim(parts["credential"], timestamp, parts["signed"], self._region, malformed)
        verified = self._check(request, claim, parts["signature"], payload)
        if abs(self._clock.now().timestamp() - claim.seconds) > MAX_SKEW:
            raise S3Error("RequestTimeTooSkewed", "The request's time differs too much from the server's.")
        return verified

    def _check(self, request: Request, claim: _Claim, signed: str, payload: str) -> Signed:
        """Compute the signature of the request as it arrived, and compare it with the one that it has."""
        values = _signed_values(request, claim)
        key = self._keys.get((claim.access_key, claim.scope)) or self._key(claim)
        canonical = _canonical(request, request.method, values, claim.signed, payload)
        expected = signature(key, claim.timestamp, claim.scope, canonical)
        given = signed.encode()
        if not hmac.compare_digest(expected.encode(), given):

            def matches(method: str, others: Mapping[str, str]) -> bool:
                tried = _canonical(request, method, {**values, **others}, claim.signed, payload)
                return hmac.compare_digest(
                    signature(key, claim.timestamp, claim.scope, tried).encode(), given
                )

            raise S3Error("SignatureDoesNotMatch", reason(request, list(values), self._elsewhere, matches))
        return Signed(frozenset(values), payload, claim.timestamp, claim.scope, key, expected)

    def _key(self, claim: _Claim) -> bytes:
        secret = self._secrets.get(claim.access_key)
        if secret is None:
            raise S3Error("InvalidAccessKeyId", "There is no such access key.")
        if len(self._keys) >= 64:  # a request may name any day
            self._keys.clear()
        date = claim.timestamp[:8]
        key = self._keys[claim.access_key, claim.scope] = signing_key(secret, date, self._region)
        return key


@lru_cache(maxsize=512)
def _link(query: Query, region: str) -> _Link:
    """The claim of a link. Queries are compared by identity. Raises `S3Error` for a malformed one."""
    values = query.values
    if values.get("X-Amz-Algorithm") != ALGORITHM:
        raise S3Error(_MALFORMED_LINK, f"X-Amz-Algorithm is {ALGORITHM} and nothing else.")
    try:
        credential, timestamp, expires, signed = [values[name] for name in _QUERY_PARAMETERS]
    except KeyError as missing:
        raise S3Error(_MALFORMED_LINK, f"The query lacks {missing.args[0]}.") from None
    if "X-Amz-Security-Token" in values:
        raise S3Error("InvalidToken", "This store issues no session tokens.")
    lifetime = int(expires) if _EXPIRES.fullmatch(expires) else 0
    if not 1 <= lifetime <= MAX_EXPIRES:
        raise S3Error(_MALFORMED_LINK, f"X-Amz-Expires is 1 to {MAX_EXPIRES} seconds.")
    claim = _claim(credential, timestamp, signed, region, _MALFORMED_LINK)
    return _Link(claim, lifetime, values.get("X-Amz-Content-Sha256"))


def _claim(credential: str, timestamp: str, signed: str, region: str, malformed: str) -> _Claim:
    """Raises `S3Error` with the code `malformed`."""
    access_key, _, scope = credential.partition("/")
    seconds = _seconds(timestamp)
    if seconds < 0:
        raise S3Error(malformed, "The date is not YYYYMMDDTHHMMSSZ.")
    if scope != f"{timestamp[:8]}/{region}/s3/aws4_request":
        raise S3Error(malformed, f"The credential's scope is not <date>/{region}/s3/aws4_request.")
    names = signed.split(";")
    if "host" not in names or names != sorted(set(names)):
        raise S3Error(malformed, "SignedHeaders must be a sorted list of different names that includes host.")
    return _Claim(access_key, scope, timestamp, seconds, signed)


def _canonical(request: Request, method: str, values: Mapping[str, str], signed: str, payload: str) -> str:
    """The canonical request, which is signed. `values`: of the signed headers, in their order."""
    lines = ""
    for name, value in values.items():
        lines += f"{name}:{' '.join(value.split())}\n"
    target = request.target
    return f"{method}\n{target.canonical_path}\n{target.query.canonical}\n{lines}\n{signed}\n{payload}"


def _same_link(request: Request) -> tuple[str, bytes, bytes, bytes] | None:
    """All that the signature of a link covers if it covers no header but the host; and the signature. None
    without that header."""
    host = request.headers.get(b"host")
    return None if host is None else (request.method, request.raw_path, request.raw_query, host)


def _has_only_host(request: Request) -> bool:
    """Whether the request has no second signature, and no header that must be signed besides the host."""
    return not any(name.startswith((b"x-amz-", b"authorization")) for name in request.headers)


def _signed_values(request: Request, claim: _Claim) -> dict[str, str]:
    """Return the values of the signed headers; refuse a list that lacks a header which must be signed."""
    values: dict[str, str] = {}
    for name in claim.signed.split(";"):
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
            and header.decode("ascii", "replace") not in values
        ):
            raise S3Error("AccessDenied", "Every x-amz header that is sent must be signed.")
    return values


def _seconds(timestamp: str) -> float:
    """Return seconds since 1970 of YYYYMMDDTHHMMSSZ, or -1 for other text."""
    if not re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", timestamp, re.ASCII):
        return -1
    try:
        return datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return -1
