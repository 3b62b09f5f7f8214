"""The request being answered, for every line that is logged meanwhile: its id, the ids that its client sent,
and its client's address.

Source: W3C Trace Context, section 3.2 (traceparent) and 4.1 to 4.3 (what to do with one that is not valid).
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
# As they were sent. They are read only when a line is logged, because most answers have no line.
REQUEST_HEADERS: ContextVar[Sequence[tuple[bytes, bytes]]] = ContextVar("request_headers", default=())
# As an IP address in its usual form; None outside of requests and for clients of a Unix socket.
CLIENT_ADDRESS: ContextVar[str | None] = ContextVar("client_address", default=None)

# No id is all zeros. The version is group 1; what a later version may have behind the flags is group 4.
_TRACEPARENT = re.compile(
    rb"([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?\Z", re.DOTALL
)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}\Z")


class ClientIds(NamedTuple):
    """The ids by which a client knows its request. Each is None if the client sent none, or no valid one."""

    trace_id: str | None = None
    parent_id: str | None = None
    request_id: str | None = None


_NONE = ClientIds()


def client_ids() -> ClientIds:
    """The ids in the headers of the request being answered. A header that is sent twice counts as not valid.

    They are hexadecimal numbers, and a `request_id` of at most 128 safe characters.
    """
    traces = [value for name, value in REQUEST_HEADERS.get() if name == b"traceparent"]
    ids = [value for name, value in REQUEST_HEADERS.get() if name == b"x-request-id"]
    if not traces and not ids:
        return _NONE
    trace_id, parent_id = _parse_traceparent(traces[0]) if len(traces) == 1 else (None, None)
    request_id = ids[0].decode() if len(ids) == 1 and _REQUEST_ID.match(ids[0]) else None
    return ClientIds(trace_id, parent_id, request_id)


def _parse_traceparent(value: bytes) -> tuple[str, str] | tuple[None, None]:
    found = _TRACEPARENT.match(value)
    if found is None or found[1] == b"ff" or (found[1] == b"00" and found[4] is not None):
        return None, None
    return found[2].decode(), found[3].decode()
