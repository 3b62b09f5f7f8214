"""The request being answered: its id, for every line that is logged meanwhile, and its client's address."""

from __future__ import annotations

from contextvars import ContextVar

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
# As an IP address in its usual form; None outside of requests and for clients of a Unix socket.
CLIENT_ADDRESS: ContextVar[str | None] = ContextVar("client_address", default=None)
