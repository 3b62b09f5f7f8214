"""The operator's bucket client: a store that is away or breaks off is called that, a full disk is not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lapel.cli.shared.bucket import BucketClient
from lapel.cli.shared.faults import explain
from lapel.foundation.core.clock import SystemClock
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.settings import Settings


def client_of(port: int, tmp_path: Path) -> BucketClient:
    """For a store on this port."""
    settings = Settings.from_env(
        {
            "LAPEL_DATA_DIR": str(tmp_path),
            "LAPEL_S3_ENDPOINT": f"http://127.0.0.1:{port}",
            "LAPEL_S3_ACCESS_KEY_ID": "key",
            "LAPEL_S3_SECRET_ACCESS_KEY": "secret",
        }
    )
    return BucketClient(settings, SystemClock())


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
        thread.join(10)


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_not_blamed_on_the_store(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    with answering(answer) as port, pytest.raises(OSError, match="No space left"):
        client_of(port, tmp_path).download("a", Path("/dev/full"))
