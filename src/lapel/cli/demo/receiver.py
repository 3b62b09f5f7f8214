"""The demo's receiver of webhooks: a small HTTP server on this machine that verifies what it gets.

The verification is that of docs/receivers.md: it uses only the standard library.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import queue
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from email.message import Message

_CLOCKS_DIFFER_SECONDS = 300
_MAX_BODY = 2**20


class ReceivedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that arrived. `genuine`: its signature was verified with the webhook's secret. `signature`:
    the header `webhook-signature`."""

    id: str
    type: str
    resource_id: str
    genuine: bool
    signature: str


class _Data(msgspec.Struct):
    id: str


class _Event(msgspec.Struct):
    id: str
    type: str
    data: _Data


class Receiver:
    """Takes deliveries at `url`. `secret` must be set before the first delivery."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.secret = ""
        self._events: queue.SimpleQueue[ReceivedEvent] = queue.SimpleQueue()

    def take(self, headers: Message, body: bytes) -> bool:
        """Verify a delivery and keep its event. Returns whether it is genuine.

        Raises msgspec.DecodeError when the body is no event.
        """
        genuine = _is_genuine(self.secret, headers, body)
        event = msgspec.json.decode(body, type=_Event)
        self._events.put(
            ReceivedEvent(
                id=event.id,
                type=event.type,
                resource_id=event.data.id,
                genuine=genuine,
                signature=headers.get("webhook-signature", ""),
            )
        )
        return genuine

    def wait(self, type_: str, resource_id: str, seconds: float) -> ReceivedEvent | None:
        """The event of this type and resource; None if it does not arrive in time."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return None
            if (event.type, event.resource_id) == (type_, resource_id):
                return event


@contextmanager
def receiver() -> Generator[Receiver]:
    """A receiver on a free port of this machine, during the block."""

    class ReceiverHandler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), _MAX_BODY))
            try:
                status = 204 if taker.take(self.headers, body) else 401
            except msgspec.DecodeError:
                status = 400
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base
            """Log nothing: the demo prints its own lines."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), ReceiverHandler)
    taker = Receiver(f"http://127.0.0.1:{server.server_port}/")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="receiver")
    thread.start()
    try:
        yield taker
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _is_genuine(secret: str, headers: Message, body: bytes) -> bool:
    """Whether `webhook-signature` fits the body, and the time is near."""
    sent_at = headers.get("webhook-timestamp", "")
    if not sent_at.isdigit() or abs(time.time() - int(sent_at)) > _CLOCKS_DIFFER_SECONDS:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers.get('webhook-id', '')}.{sent_at}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    given = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(each.encode(), expected) for each in given)
