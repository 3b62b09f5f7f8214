"""Parsers from the text of an environment variable to its value: one for each kind of setting.

A parser raises ValueError when it cannot read the text. Its message completes a sentence that begins with the
variable's name and text.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def text(raw: str) -> str:
    return raw


def path(raw: str) -> Path:
    return Path(raw).expanduser().absolute()


def switch(raw: str) -> bool:
    word = raw.strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off"}:
        return False
    raise ValueError("is neither on nor off; write on or off")


def whole(low: int, high: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        if not raw.strip().isascii() or not raw.strip().isdigit() or len(raw) > 20:
            raise ValueError(f"is not a whole number; give one from {low} to {high}")
        number = int(raw)
        if not low <= number <= high:
            raise ValueError(f"is out of range; give a number from {low} to {high}")
        return number

    return parse


def size(raw: str) -> int:
    text = raw.strip()
    for unit, factor in (("KiB", KIB), ("MiB", MIB), ("GiB", GIB), ("", 1)):
        digits = text.removesuffix(unit).strip()
        if text.endswith(unit) and digits.isascii() and digits.isdigit() and len(digits) <= 15:
            return int(digits) * factor
    raise ValueError("is not a size; give bytes, or a number with KiB, MiB or GiB, such as 64MiB")


def format_size(number: int) -> str:
    """A number of bytes for people, exactly: `2 GiB`, `1500 bytes`."""
    for unit, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if number and number % factor == 0:
            return f"{number // factor} {unit}"
    return f"{number} bytes"


def format_limit(number: int) -> str:
    """A number of bytes that a program may compare and a person reads: `2048 bytes (2 KiB)`, `1500 bytes`."""
    short = format_size(number)
    return short if short == f"{number} bytes" else f"{number} bytes ({short})"


def seconds(most: float = 86_400) -> Callable[[str], float]:
    def parse(raw: str) -> float:
        try:
            number = float(raw)
        except ValueError:
            number = -1.0
        if not 0 < number <= most:
            raise ValueError(f"is not a time; give seconds, more than 0 and at most {most:g}")
        return number

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw not in words:
            raise ValueError(f"is not known; give one of {', '.join(words)}")
        return raw

    return parse


def url(*schemes: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        try:
            parts = urlsplit(raw)
            _ = parts.port
        except ValueError:
            raise ValueError("is not a URL that can be read") from None
        if parts.scheme not in schemes:
            raise ValueError(
                f"is not a usable URL; it must begin with {' or '.join(s + '://' for s in schemes)}"
            )
        if parts.scheme.startswith("http"):
            if not parts.hostname:
                raise ValueError("is a URL without a host name")
            if parts.query or parts.fragment or "@" in parts.netloc:
                raise ValueError(
                    "must not carry a user, a query or a fragment; give scheme, host, port and path only"
                )
            return raw.rstrip("/")
        return raw

    return parse


def networks(raw: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(each.strip()) for each in raw.split(","))
    except ValueError as fault:
        raise ValueError(
            f"is not a list of networks ({fault}); give networks such as 10.1.0.0/16,fd12:3456::/48"
        ) from None


def secret(raw: str) -> str:
    if len(raw) < 32:
        raise ValueError(
            "is too short; give at least 32 characters, for instance from `openssl rand -base64 32`"
        )
    return raw


def prefix(raw: str) -> str:
    if not raw.startswith("/") or raw.rstrip("/") in {"", "/v1"} or "//" in raw or set(raw) & set("?#% "):
        raise ValueError("is not a usable path prefix; give one such as /store")
    return raw.rstrip("/")
