"""A receiver of webhooks in a thread, which keeps what it gets."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast


class Receiver(ThreadingHTTPServer):
    """`got`: the headers (names in lower case) and the body of each request. It answers with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 204

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/hooks"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        names = [name.lower() for name in self.headers]
        assert len(names) == len(set(names)), names
        receiver = cast("Receiver", self.server)
        receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(receiver.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Requests are not logged."""


@contextlib.contextmanager
def receiving() -> Generator[Receiver]:
    """A receiver during the block."""
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()
