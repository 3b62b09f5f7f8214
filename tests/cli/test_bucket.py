"""The operator's bucket client: a store that is away or breaks off is called that, a full disk is not."""

from __future__ import annotations

import asyncio
import dataclasses
import http.server
import socket
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lapel.cli.doctor import checks
from lapel.cli.doctor.checks import Finding
from lapel.cli.doctor.doctor import _within
from lapel.cli.shared.bucket import BucketClient
from lapel.cli.shared.faults import CommandError, explain
from lapel.foundation.core.clock import SystemClock
from lapel.foundation.ports import Ports, credential_source
from lapel.foundation.storage.client import open_store
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.settings import Settings
from tests.support.patience import LONG


def client_of(port: int, tmp_path: Path) -> BucketClient:
    """For a store on this port."""
    return BucketClient(settings_of(port, tmp_path), SystemClock())


def settings_of(port: int, tmp_path: Path) -> Settings:
    """With a store on this port."""
    return Settings.from_env(
        {
            "LAPEL_DATA_DIR": str(tmp_path),
            "LAPEL_S3_ENDPOINT": f"http://127.0.0.1:{port}",
            "LAPEL_S3_ACCESS_KEY_ID": "key",
            "LAPEL_S3_SECRET_ACCESS_KEY": "secret",
        }
    )


@contextmanager
def answering(answer: bytes) -> Generator[int]:
    """A port on which one request gets these bytes, and then the end of the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                # A socket that closes before it has read all tells the client of a reset.
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(LONG)


MORE = "`lapel doctor` says more."


def said(fault: BaseException) -> str:
    """The one sentence for the operator."""
    return explain(fault) or ""


def test_a_store_that_is_away_is_not_called_the_database(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    with pytest.raises(StoreUnavailable) as caught:
        client_of(port, tmp_path).exists()
    assert said(caught.value) == f"the store does not answer: 127.0.0.1:{port}: Connection refused. {MORE}"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "ended the connection without an answer"),
        (b"nonsense", "answers, but not with HTTP. Check LAPEL_S3_ENDPOINT"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "broke off its answer"),
    ],
    ids=["nothing", "no http", "half a chunk"],
)
def test_a_store_that_breaks_off_is_told_so(tmp_path: Path, answer: bytes, words: str) -> None:
    with answering(answer) as port, pytest.raises(StoreUnavailable) as caught:
        client_of(port, tmp_path).open_to_browsers()
    assert said(caught.value) == f"the store does not answer: 127.0.0.1:{port} {words}. {MORE}"


class Refusing(http.server.BaseHTTPRequestHandler):
    """Refuses every request as S3 does: the answer to HEAD has no body."""

    code = "SignatureDoesNotMatch"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        body = f"<Error><Code>{self.code}</Code></Error>".encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Says nothing."""


@contextmanager
def refusing(code: str) -> Generator[int]:
    """A store on this port that refuses every request with this code."""
    handler = type("Handler", (Refusing,), {"code": code})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join(LONG)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("SignatureDoesNotMatch", "refuses the secret of the access key; correct LAPEL_S3_SECRET_ACCESS_KEY"),
        ("InvalidAccessKeyId", "knows no access key with this id; correct LAPEL_S3_ACCESS_KEY_ID"),
        ("AccessDenied", "the bucket belongs to another account"),
    ],
)
def test_wrong_keys_are_called_that(tmp_path: Path, code: str, words: str) -> None:
    with refusing(code) as port, pytest.raises(CommandError) as caught:
        client_of(port, tmp_path).exists()
    assert words in said(caught.value)


async def test_the_server_calls_wrong_keys_that(tmp_path: Path) -> None:
    with refusing("SignatureDoesNotMatch") as port:
        settings = settings_of(port, tmp_path)
        store = open_store(settings, credential_source(settings, SystemClock()))
        with pytest.raises(StoreUnavailable, match="refuses the secret of the access key"):
            await store.put("a", b"a")


async def test_doctor_gives_a_store_that_hangs_a_few_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ports: Ports
) -> None:
    monkeypatch.setattr(checks, "_STORE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hung = settings_of(silent.getsockname()[1], tmp_path)
        found = [each async for each in checks.store(dataclasses.replace(ports, settings=hung))]
    assert [(each.part, each.state) for each in found] == [("store", "broken"), ("credentials", "ok")]
    assert "timed out" in found[0].detail
    assert "doctor" not in f"{found[0].detail} {found[0].remedy}"


async def test_checks_that_take_too_long_are_given_up(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[Finding]:
        yield Finding("database", "ok", "one")
        await asyncio.sleep(60)

    embedded = Settings.from_env({}, data_dir=tmp_path)
    found = await _within(0.05, "database", endless(), embedded)
    assert [each.state for each in found] == ["ok", "broken"]
    assert found[1].remedy == f"See {tmp_path / 'postgres.log'}."
    given = dataclasses.replace(embedded, database_url="postgresql://lapel@db.example.com/lapel")
    found = await _within(0.05, "database", endless(), given)
    assert found[1].remedy == "Check LAPEL_DATABASE_URL, and the log of that PostgreSQL."


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_not_blamed_on_the_store(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    with answering(answer) as port, pytest.raises(OSError, match="No space left"):
        client_of(port, tmp_path).download("a", Path("/dev/full"))
