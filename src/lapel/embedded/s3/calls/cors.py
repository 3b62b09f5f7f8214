"""Which web pages may use the store: the bucket's own rules, or the default rules if the bucket has none.

A signed link is itself the permission, and the store reads no cookie, so by default any origin may use a
link.

Sources: "CORS protocol" in the Fetch Standard (https://fetch.spec.whatwg.org/#http-cors-protocol), and
PutBucketCors in the Amazon S3 API reference.
"""

from pathlib import Path

import msgspec

from lapel.embedded.s3.files.durable import replace_file, sync_folder
from lapel.embedded.s3.files.folder import Bucket
from lapel.embedded.s3.protocol.request import Headers
from lapel.embedded.s3.protocol.xml import Element, document, read, tag
from lapel.embedded.s3.s3_errors import S3Error

_METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "HEAD"})
_MAX_RULES = 100


class Rule(msgspec.Struct, frozen=True):
    """One rule. Each origin and each header may contain one *; `max_age` is in seconds."""

    origins: list[str]
    methods: list[str]
    headers: list[str] = []
    expose: list[str] = []
    max_age: int | None = None


DEFAULT_RULES = (
    Rule(
        origins=["*"],
        methods=["GET", "HEAD", "PUT"],
        headers=["content-type", "x-amz-checksum-sha256", "range", "if-none-match", "if-match", "if-range"],
        expose=[
            "ETag",
            "Content-Length",
            "Content-Range",
            "Accept-Ranges",
            "Last-Modified",
            "x-amz-request-id",
        ],
        max_age=3600,
    ),
)

_cache: dict[str, tuple[tuple[int, int], tuple[Rule, ...]]] = {}


def _file(bucket: Bucket) -> Path:
    return bucket.folder / "cors.json"


def rules_of(bucket: Bucket) -> tuple[Rule, ...]:
    """Return the rules in force. Another process may have written the file, so each call checks the file's
    state, and reads the file if it changed.
    """
    path = _file(bucket)
    try:
        state = path.stat()
        mark = (state.st_mtime_ns, state.st_ino)
        cached = _cache.get(str(path))
        if cached is not None and cached[0] == mark:
            return cached[1]
        rules = tuple(msgspec.json.decode(path.read_bytes(), type=list[Rule]))
    except (FileNotFoundError, NotADirectoryError):
        return DEFAULT_RULES
    _cache[str(path)] = (mark, rules)
    return rules


def store_rules(bucket: Bucket, body: bytes) -> None:
    """Store the rules of a PutBucketCors. Raises `S3Error` for invalid rules. Runs in a thread."""
    root = read(body, "CORSConfiguration")
    rules = [_read_rule(element) for element in root.all("CORSRule")]
    if not 1 <= len(rules) <= _MAX_RULES:
        raise S3Error("MalformedXML", f"There are 1 to {_MAX_RULES} rules.")
    replace_file(_file(bucket), msgspec.json.encode(rules))


def forget_rules(bucket: Bucket) -> None:
    """Go back to the default rules, durably. Runs in a thread."""
    path = _file(bucket)
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def _read_rule(element: Element) -> Rule:
    def texts(name: str) -> list[str]:
        return [child.text.strip() for child in element.all(name)]

    age = element.value("MaxAgeSeconds")
    if age is not None and not (age.strip().isascii() and age.strip().isdigit() and len(age) < 10):
        raise S3Error("MalformedXML", "MaxAgeSeconds is not a number.")
    rule = Rule(
        origins=texts("AllowedOrigin"),
        methods=texts("AllowedMethod"),
        headers=texts("AllowedHeader"),
        expose=texts("ExposeHeader"),
        max_age=None if age is None else int(age),
    )
    if not rule.origins or not rule.methods or not _METHODS.issuperset(rule.methods):
        raise S3Error("MalformedXML", "A rule has at least one origin and one of the known methods.")
    values = [*rule.origins, *rule.headers, *rule.expose]
    if any(value.count("*") > 1 or not value.isprintable() or len(value) > 512 for value in values):
        raise S3Error("MalformedXML", "An origin or header has one * at most and no control characters.")
    return rule


def show_rules(rules: tuple[Rule, ...]) -> bytes:
    """Return the rules as GetBucketCors shows them."""
    content: list[str] = []
    for rule in rules:
        parts = [tag("AllowedOrigin", each) for each in rule.origins]
        parts += [tag("AllowedMethod", each) for each in rule.methods]
        parts += [tag("AllowedHeader", each) for each in rule.headers]
        parts += [tag("ExposeHeader", each) for each in rule.expose]
        if rule.max_age is not None:
            parts.append(tag("MaxAgeSeconds", rule.max_age))
        content.append(f"<CORSRule>{''.join(parts)}</CORSRule>")
    return document("CORSConfiguration", *content)


def _like(pattern: str, text: str) -> bool:
    start, star, end = pattern.partition("*")
    if not star:
        return pattern == text
    return len(text) >= len(start) + len(end) and text.startswith(start) and text.endswith(end)


def allow(rules: tuple[Rule, ...], origin: str, method: str, headers: list[str] | None) -> Headers | None:
    """Return the Access-Control headers for a page of this origin, or None if no rule allows it.

    `headers`: the header names that a preflight asks for, in upper or lower case. None if the request is not
    a preflight.
    """
    asked = [name.lower() for name in headers or []]
    for rule in rules:
        if method not in rule.methods or not any(_like(each, origin) for each in rule.origins):
            continue
        known = [each.lower() for each in rule.headers]
        if not all(any(_like(each, name) for each in known) for name in asked):
            continue
        everybody = "*" in rule.origins
        answer: Headers = [(b"access-control-allow-origin", b"*" if everybody else origin.encode())]
        if not everybody:
            answer.append((b"vary", b"Origin"))
        if headers is not None:
            answer.append((b"access-control-allow-methods", ", ".join(rule.methods).encode()))
            if asked:
                answer.append((b"access-control-allow-headers", ", ".join(asked).encode()))
            if rule.max_age is not None:
                answer.append((b"access-control-max-age", str(rule.max_age).encode()))
        elif rule.expose:
            answer.append((b"access-control-expose-headers", ", ".join(rule.expose).encode()))
        return answer
    return None
