"""A model hub on this machine: as much of the real one's wire format as a download needs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Generator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase

_PART = 25_000_000  # bytes
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextlib.contextmanager
def hub(repository: str, files: Mapping[str, bytes]) -> Generator[str]:
    """The URL under which it answers (HF_ENDPOINT). It knows one repository, with these files."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            del format, args

        def do_HEAD(self) -> None:
            self._file(send=False)

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == f"/api/models/{repository}/revision/main":
                siblings = [{"rfilename": name} for name in files]
                self._json({"id": repository, "sha": COMMIT, "siblings": siblings})
            elif path == f"/api/models/{repository}/tree/{COMMIT}":
                self._json(
                    [
                        {"type": "file", "path": name, "size": len(content), "oid": sums[name][:40]}
                        for name, content in files.items()
                    ]
                )
            else:
                self._file(send=True)

        def _file(self, *, send: bool) -> None:
            name = self.path.removeprefix(f"/{repository}/resolve/{COMMIT}/")
            content = files.get(name)
            if content is None:
                self._answer(404, b"{}")
                return
            headers = {"ETag": f'"{sums[name]}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            self._answer(200, content, send=send, **headers)

        def _json(self, body: object) -> None:
            self._answer(200, json.dumps(body).encode())

        def _answer(self, status: int, body: bytes, *, send: bool = True, **headers: str) -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if send:
                _send_in_parts(self.wfile, body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _send_in_parts(client: BufferedIOBase, body: bytes) -> None:
    for first in range(0, len(body), _PART):
        if first:  # the client reports its progress ten times a second; a network is slower than that
            time.sleep(0.15)
        client.write(body[first : first + _PART])
