"""A PUT that the store refuses before its body has arrived: the client reads why, whatever it sends first."""

import contextlib
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lapel.foundation.storage.presign import PresignedPut
from tests.conformance.conftest import Curl
from tests.conformance.servers import BUCKET, Endpoint, embedded, now
from tests.conformance.test_embedded_limits import request_head, upload_link
from tests.support.patience import LONG

LARGE = bytes(24 << 20)  # more than the buffers of two sockets hold
Sender = Callable[[PresignedPut, bytes], tuple[int, bytes]]


def by_urllib(put: PresignedPut, body: bytes, context: ssl.SSLContext | None = None) -> tuple[int, bytes]:
    """Sends all, then reads; asks that the connection is closed."""
    request = urllib.request.Request(put.url, body, put.headers, method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=LONG, context=context) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def by_http_client(put: PresignedPut, body: bytes) -> tuple[int, bytes]:
    """Sends all, then reads; keeps the connection, on which the next request is answered too."""
    parts = urlsplit(put.url)
    with contextlib.closing(HTTPConnection(parts.hostname or "", parts.port, timeout=LONG)) as connection:
        connection.request("PUT", f"{parts.path}?{parts.query}", body, put.headers)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.request("GET", f"/{BUCKET}/none")
        assert connection.getresponse().status == 403
        return found


def by_socket(put: PresignedPut, body: bytes) -> tuple[int, bytes]:
    """Sends all, and reads until the server has closed its side."""
    head = request_head(put.url, {**put.headers, "Content-Length": str(len(body)), "Connection": "close"})
    return _talked(put, [head, body])


def in_chunks(put: PresignedPut, body: bytes) -> tuple[int, bytes]:
    """Sends all as one chunk, and reads until the server has closed its side."""
    head = request_head(put.url, {**put.headers, "Transfer-Encoding": "chunked"})
    return _talked(put, [head, b"%x\r\n" % len(body), body, b"\r\n0\r\n\r\n"])


def _talked(put: PresignedPut, pieces: list[bytes]) -> tuple[int, bytes]:
    parts = urlsplit(put.url)
    endpoint = Endpoint("embedded", f"http://{parts.netloc}", Path(), 0)
    with endpoint.connect() as connection:
        for piece in pieces:
            connection.sendall(piece)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, content = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    return int(head.split()[1]), content


WITH_LENGTH = (by_urllib, by_http_client, by_socket)
SENDERS = (*WITH_LENGTH, in_chunks)


def forged(store: Endpoint, key: str) -> PresignedPut:
    """A link that another secret has signed."""
    return store.signer("another-secret").put_url(key, now=now(), expires_in=60, content_type="audio/ogg")


@pytest.mark.parametrize("send", SENDERS)
def test_a_wrong_signature_is_told_after_the_whole_body(ours: Endpoint, key: str, send: Sender) -> None:
    status, content = send(forged(ours, key), LARGE)
    assert (status, b"<Code>SignatureDoesNotMatch</Code>" in content) == (403, True)


@pytest.mark.parametrize("send", WITH_LENGTH)
def test_another_size_than_the_signed_one_is_told_after_the_whole_body(
    ours: Endpoint, key: str, send: Sender
) -> None:
    put = upload_link(ours, key, 1000)
    status, content = send(PresignedPut(put.url, {"Content-Type": "audio/ogg"}), LARGE)
    assert (status, b"<Code>SignatureDoesNotMatch</Code>" in content) == (403, True)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A store whose disk is full for audio, and that takes a thousand bytes of an image."""
    with embedded(tmp_path_factory.mktemp("refusing"), f"--min-free={1 << 60}", "--ceiling=image=1000") as it:
        yield it


@pytest.mark.parametrize("send", SENDERS)
def test_a_full_disk_is_told_after_the_whole_body(refusing: Endpoint, key: str, send: Sender) -> None:
    status, content = send(upload_link(refusing, key), LARGE)
    assert (status, b"<Code>InsufficientStorage</Code>" in content) == (507, True)


@pytest.mark.parametrize("send", WITH_LENGTH)
def test_too_large_an_object_is_told_after_the_whole_body(refusing: Endpoint, key: str, send: Sender) -> None:
    put = refusing.signer().put_url(key, now=now(), expires_in=60, content_type="image/png")
    status, content = send(put, LARGE)
    assert (status, b"at most 1000 bytes" in content) == (400, True)


def test_a_refusal_is_read_over_tls_too(tmp_path: Path, certificate: Path) -> None:
    with embedded(tmp_path, "--min-free=1", f"--tls={certificate}", scheme="https") as store:
        context = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
        assert by_urllib(forged(store, "k"), LARGE, context)[0] == 403


def test_who_waits_for_100_is_refused_without_it(refusing: Endpoint, key: str) -> None:
    put = upload_link(refusing, key)
    head = request_head(put.url, {**put.headers, "Content-Length": "5", "Expect": "100-continue"})
    with refusing.connect() as connection:
        connection.sendall(head)
        answer = b"".join(
            iter(lambda: connection.recv(1 << 16), b"")
        )  # the server ends, the client sends nothing
    assert answer.startswith(b"HTTP/1.1 507 ")
    assert b"connection: close" in answer.lower()


def test_curl_does_not_send_what_is_refused(refusing: Endpoint, curl: Curl, tmp_path: Path, key: str) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(LARGE)
    put = upload_link(refusing, key)
    status, headers, _ = curl(
        put.url, "-T", str(upload), "-H", "Content-Type: audio/ogg", "-H", "Expect: 100-continue"
    )
    assert (status, headers["connection"]) == (507, "close")


def test_refused_senders_do_not_disturb_others(ours: Endpoint, key: str) -> None:
    put = forged(ours, key)
    found: list[int] = []
    senders = [threading.Thread(target=lambda: found.append(by_urllib(put, LARGE)[0])) for _ in range(6)]
    for each in senders:
        each.start()
    assert by_urllib(upload_link(ours, key), b"OggS")[0] == 200
    for each in senders:
        each.join()
    assert found == [403] * 6
