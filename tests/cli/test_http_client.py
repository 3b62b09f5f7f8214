"""The HTTP client of commands sends what it is given, and tells an answer from none."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest

from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.http_client import HttpAnswer, NoAnswer, request
from lapel.cli.shared.server import server_access
from tests.support.serving import run


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the request line, the headers that were sent, and the body."""

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        named = "".join(f"{name}={self.headers.get(name)};" for name in ("X-Amz-Meta", "Content-Type"))
        self._answer(200, f"{self.requestline}|{named}|".encode() + body)

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/v1/events/stream" else 302, b"elsewhere")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing: the base class would write to stderr."""

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def mute(first: bytes) -> Iterator[str]:
    """A server that sends `first` and no more, to one client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(65536)
                client.sendall(first)
                if not first:
                    ended.wait(60)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            ended.set()
            thread.join()


def test_a_signed_url_is_sent_as_it_is(base_url: str) -> None:
    target = "/lapel/a%2Fb%20c?X-Amz-Signature=ab%2F+%7E&response-content-type=audio%2Fogg"
    answer = request("PUT", base_url + target, {"X-Amz-Meta": "x", "Content-Type": "a/b"}, b"\0", timeout=60)
    head = f"PUT {target} HTTP/1.1|X-Amz-Meta=x;Content-Type=a/b;|".encode()
    assert answer == HttpAnswer(200, "text/plain", head + b"\0")


def test_a_redirect_is_an_answer(base_url: str) -> None:
    assert request("GET", base_url, timeout=60) == HttpAnswer(302, "text/plain", b"elsewhere")


def test_a_stream_of_another_kind_of_server_is_refused(base_url: str) -> None:
    done = run("events", "tail", env={"LAPEL_URL": base_url, "LAPEL_KEY": "sk_test_any"})
    assert done.returncode == 1
    assert done.stderr == f"lapel: {base_url} answers, but not as Lapel does; is the URL right?\n"


def test_a_refused_connection_is_no_answer() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        server = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(NoAnswer) as caught:
            request("GET", f"{server}/link?signature=secret", timeout=60)
    assert str(caught.value) == f"no connection to {server}: Connection refused"


def test_an_answer_that_breaks_off_is_no_answer() -> None:
    with mute(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf") as url, pytest.raises(NoAnswer):
        request("GET", url, timeout=60)


def test_an_answer_that_takes_ten_timeouts_is_no_answer() -> None:
    """Each pause of this one is short, and it would last 60 s."""
    ended = threading.Event()

    def drip(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            client.recv(65536)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1200\r\n\r\n")
            with suppress(OSError):  # the caller hangs up
                for _ in range(1200):
                    client.sendall(b".")
                    if ended.wait(0.05):
                        return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        began = time.monotonic()
        try:
            with pytest.raises(NoAnswer, match="does not answer in time"):
                request("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=0.3)
        finally:
            ended.set()
            thread.join()
    assert 2.9 < time.monotonic() - began < 30


def test_a_silent_server_is_no_answer() -> None:
    with mute(b"") as url, pytest.raises(NoAnswer):
        request("GET", url, timeout=0.2)


@pytest.mark.parametrize(("url", "key"), [("http://127.0.0.1:1", ""), ("", "sk_test_x")])
def test_an_empty_variable_counts_as_unset(url: str, key: str) -> None:
    access = server_access(url, key, None, None, scopes=(), name="a test", lives=timedelta(minutes=1))
    with pytest.raises(CommandError, match="need each other: give both"), access:
        raise AssertionError("there is no such server")
