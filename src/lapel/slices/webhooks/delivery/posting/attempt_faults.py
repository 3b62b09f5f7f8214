"""Why an attempt got no answer, as a short sentence for the webhook's owner."""

from __future__ import annotations

import os

import aiohttp

from lapel.foundation.outbound.bounded_answers import HeadTooLarge, TooManyAnswers
from lapel.foundation.outbound.guarded_connector import ForbiddenAddress

_LONGEST = 200
# One sentence for a name that does not exist and for one that leads to a refused address. Two sentences would
# tell tenants which names the operator's network has.
NAME_NOT_CALLED = (
    "the host's name cannot be resolved, or leads to an address that may not be called. Change `url` to "
    "https:// and a public host, or ask the operator (LAPEL_OUTBOUND_NETWORKS)"
)


def told(fault: BaseException) -> str:
    """The sentence. It names no address of the network that the owner has not written."""
    return _told(fault).replace("\0", "")[:_LONGEST]


def _told(fault: BaseException) -> str:
    match fault:
        case ForbiddenAddress():
            written = fault.host == fault.address  # in the URL, by the owner
            return f"refused: {fault}" if written else NAME_NOT_CALLED
        case aiohttp.ClientConnectorCertificateError():
            why = getattr(fault.certificate_error, "verify_message", "")
            return f"TLS: {why or 'the certificate is not valid'}"
        case aiohttp.ClientSSLError():
            return "TLS: no secure connection could be made"
        case aiohttp.ClientConnectorDNSError():
            return NAME_NOT_CALLED
        case aiohttp.ConnectionTimeoutError():
            return "timeout: no connection was made"
        case TimeoutError():
            return "timeout after 30 s"
        case aiohttp.ClientConnectorError():
            # Not `strerror`, in which asyncio writes the address that the name server told.
            return f"no connection: {os.strerror(fault.errno) if fault.errno else 'unknown reason'}"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed without an answer"
        case TooManyAnswers() | HeadTooLarge():
            return str(fault)
        case aiohttp.ClientResponseError():
            return "the answer is not valid HTTP"
        case aiohttp.InvalidURL() | ValueError():
            return "the URL cannot be read"
        case _:
            return "the connection broke"
