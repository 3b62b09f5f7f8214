"""Checks a URL that a tenant gives, before it is stored. Whether its name leads to an allowed address is
checked with each connection (`guarded_connector.py`), because names change.

What is returned is what is connected to: the check parses with yarl, as aiohttp does, and refuses a host that
yarl would change into another one. Sources: RFC 3986; RFC 5891 and UTS 46 (names that are not ASCII); the
WHATWG URL standard, "ends in a number checker" (2130706433, 0x7f.1).
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from typing import TYPE_CHECKING

from yarl import URL

from lapel.foundation.outbound.policy import port_refusal

if TYPE_CHECKING:
    from lapel.foundation.outbound.addresses import Address
    from lapel.foundation.outbound.policy import OutboundPolicy

LONGEST_URL = 2048
_AUTHORITY = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<name>[^\[\]:]*))(?P<port>:.*)?", re.DOTALL)
_PORT = re.compile(r":[0-9]{1,5}")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOOPBACK = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))


class ForbiddenUrl(ValueError):
    """A tenant's URL cannot be used. The message says why, in a sentence for this tenant."""


def check_url(text: str, policy: OutboundPolicy) -> str:
    """The URL in a normal form. Raises ForbiddenUrl when it cannot be used.

    A speech service is stored and called in this form. A webhook keeps the text that its owner wrote, as the
    contract says; aiohttp connects to the same host.
    """
    _check_characters(text)
    secure = _is_secure(text, policy)
    authority = re.split(r"[/?]", text.partition("://")[2], maxsplit=1)[0]
    host, port = _split(authority)
    try:
        url = URL(text)
        # The host that yarl connects to, in the letters that the tenant writes.
        canonical, read = str(url), (url.raw_host if host.isascii() else url.host) or ""
    except ValueError:
        raise ForbiddenUrl("The URL cannot be read.") from None
    if port is not None and port != url.port:
        raise ForbiddenUrl("The URL cannot be read.")
    _check_host(host, url.raw_host or "", policy, secure=secure, port=url.port or 0)
    if not host.startswith("[") and unicodedata.normalize("NFC", host.lower()) != read:
        raise ForbiddenUrl(
            "The host of the URL has characters that stand for other characters, such as a fullwidth letter. "
            "Write the characters that are meant."
        )
    if len(canonical) > LONGEST_URL:
        raise ForbiddenUrl(f"The URL is longer than {LONGEST_URL} characters, when it is encoded.")
    return canonical


def _check_characters(text: str) -> None:
    if len(text) > LONGEST_URL:
        raise ForbiddenUrl(f"The URL is longer than {LONGEST_URL} characters.")
    # C: control, format and unassigned characters; Z: spaces.
    if "\\" in text or any(unicodedata.category(character)[0] in "CZ" for character in text):
        raise ForbiddenUrl("The URL has a space, a backslash or a character that cannot be seen.")
    if "#" in text:
        raise ForbiddenUrl("The URL has a fragment (#), which is never sent. Leave it out.")


def _is_secure(text: str, policy: OutboundPolicy) -> bool:
    if text[:8].lower() == "https://":
        return True
    if text[:7].lower() != "http://":
        raise ForbiddenUrl("The URL must begin with https://.")
    if not policy.networks:
        raise ForbiddenUrl(
            "The URL must begin with https://. http:// is allowed only to networks that the operator names "
            "in LAPEL_OUTBOUND_NETWORKS, such as 127.0.0.0/8 for this machine."
        )
    return False


def _split(authority: str) -> tuple[str, int | None]:
    """Host, with its brackets, and port."""
    if "@" in authority:
        raise ForbiddenUrl("The URL must not have a user name or a password (the part before @).")
    if "%" in authority:
        raise ForbiddenUrl("The host of the URL must not have a percent sign.")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise ForbiddenUrl("The host of the URL cannot be read.")
    host = parts["name"] if parts["v6"] is None else f"[{parts['v6']}]"
    if not host:
        raise ForbiddenUrl("The URL has no host.")
    if parts["port"] is None:
        return host, None
    if not _PORT.fullmatch(parts["port"]) or not 1 <= int(parts["port"][1:]) <= 65535:
        raise ForbiddenUrl("The port of the URL must be a number from 1 to 65535.")
    return host, int(parts["port"][1:])


def _check_host(host: str, raw_host: str, policy: OutboundPolicy, *, secure: bool, port: int) -> None:
    """`raw_host`: the host as yarl encodes it, without brackets."""
    if host.startswith("["):
        try:
            _check_address(ipaddress.IPv6Address(host[1:-1]), policy, secure=secure, port=port)
        except ipaddress.AddressValueError:
            raise ForbiddenUrl("The host of the URL has brackets, but is no IPv6 address.") from None
        return
    labels = raw_host.split(".")
    if not labels[-1]:
        raise ForbiddenUrl("The host of the URL must not end with a dot.")
    if len(raw_host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise ForbiddenUrl("The host of the URL is not a valid name.")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            _check_address(ipaddress.IPv4Address(raw_host), policy, secure=secure, port=port)
        except ipaddress.AddressValueError:
            raise ForbiddenUrl(
                "The host of the URL is a number. Write an IPv4 address as four decimal numbers without "
                "leading zeros."
            ) from None
    elif labels[-1] == "localhost":  # RFC 6761, section 6.3
        refusals = [policy.refusal(address, secure=secure, port=port) for address in _LOOPBACK]
        if refusals[0] is not None and refusals[1] is not None:
            raise ForbiddenUrl(
                refusals[0].sentences("The host of the URL is this machine itself, which", with_use=False)
            )
    elif not policy.networks:  # else the address decides, when a connection is made
        at_port = port_refusal(port)
        if at_port is not None:
            raise ForbiddenUrl(at_port.sentences("The host of the URL", with_use=False))


def _check_address(address: Address, policy: OutboundPolicy, *, secure: bool, port: int) -> None:
    refusal = policy.refusal(address, secure=secure, port=port)
    if refusal is not None:
        raise ForbiddenUrl(refusal.sentences(f"The address {address} of the URL", with_use=True))
