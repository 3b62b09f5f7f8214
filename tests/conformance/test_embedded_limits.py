"""Promises of our own store alone: what happens to bytes that come wrong, late, half or to a full disk."""

import contextlib
import hashlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from botocore.exceptions import ClientError

from lapel.foundation.storage.errors import ObjectDiffers, ObjectMissing
from lapel.foundation.storage.presign import PresignedPut
from lapel.foundation.storage.streams import ObjectStreams
from tests.conformance.conftest import Curl
from tests.conformance.servers import BUCKET, Endpoint, embedded, now, wait_until
from tests.support.disks import tiny_disk
from tests.support.patience import LONG
from tests.support.plain_http import http

BODY = b"OggS" * 1000


def request_head(url: str, headers: dict[str, str], method: str = "PUT") -> bytes:
    parts = urlsplit(url)
    lines = [f"{method} {parts.path}?{parts.query} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def upload_link(store: Endpoint, key: str, length: int | None = None) -> PresignedPut:
    return store.signer().put_url(
        key, now=now(), expires_in=60, content_type="audio/ogg", content_length=length
    )


def leftovers(store: Endpoint) -> list[Path]:
    return list((store.root / BUCKET / "temporary").iterdir())


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


@pytest.mark.deep
def test_a_part_that_comes_while_its_upload_is_aborted_leaves_nothing(ours: Endpoint) -> None:
    client, body = ours.client(), os.urandom(6 << 20)
    small = os.urandom(1000)

    def put(upload: str, number: int, content: bytes) -> None:
        with contextlib.suppress(ClientError):
            client.upload_part(Bucket=BUCKET, Key="late", UploadId=upload, PartNumber=number, Body=content)

    for turn in range(40):
        upload = client.create_multipart_upload(Bucket=BUCKET, Key="late")["UploadId"]
        putting = [threading.Thread(target=put, args=(upload, 1, body))]
        putting += [threading.Thread(target=put, args=(upload, number, small)) for number in range(2, 8)]
        for each in putting:
            each.start()
        time.sleep(turn / 1000)  # each time at another step
        client.abort_multipart_upload(Bucket=BUCKET, Key="late", UploadId=upload)
        for each in putting:
            each.join()
    assert list((ours.root / BUCKET / "uploads").iterdir()) == []


def test_a_full_disk_refuses_writes_and_keeps_serving(tmp_path: Path, curl: Curl) -> None:
    with embedded(tmp_path) as store:
        store.client().put_object(Bucket=BUCKET, Key="old", Body=BODY)
    with embedded(tmp_path, f"--min-free={1 << 60}") as store:
        client = store.client()
        upload = tmp_path / "upload"
        upload.write_bytes(BODY)
        put = upload_link(store, "new")
        status, _, answer = curl(put.url, "-T", str(upload), "-H", "Content-Type: audio/ogg")
        assert status == 507
        assert b"<Code>InsufficientStorage</Code>" in answer
        calls: list[tuple[Any, dict[str, Any]]] = [
            (client.put_object, {"Key": "new", "Body": BODY}),
            (client.copy_object, {"Key": "new", "CopySource": {"Bucket": BUCKET, "Key": "old"}}),
            (client.create_multipart_upload, {"Key": "new"}),
        ]
        for call, arguments in calls:
            with pytest.raises(ClientError) as error:
                call(Bucket=BUCKET, **arguments)
            assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 507
        assert leftovers(store) == []
        assert client.get_object(Bucket=BUCKET, Key="old")["Body"].read() == BODY
        assert [each["Key"] for each in client.list_objects_v2(Bucket=BUCKET)["Contents"]] == ["old"]
        client.delete_object(Bucket=BUCKET, Key="old")


def test_a_half_sent_put_leaves_what_was_there(ours: Endpoint, key: str) -> None:
    client = ours.client()
    client.put_object(Bucket=BUCKET, Key=key, Body=b"before")
    put = upload_link(ours, key)
    with ours.connect() as connection:
        connection.sendall(request_head(put.url, {**put.headers, "Content-Length": str(8 << 20)}))
        connection.sendall(bytes(3 << 20))
        wait_until(lambda: leftovers(ours) != [], 10, "no temporary file appeared")
        assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"before"
    wait_until(lambda: leftovers(ours) == [], 10, "the temporary file stayed")
    assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"before"


def test_more_bytes_than_signed_are_not_taken(ours: Endpoint, key: str) -> None:
    """The rest is garbage where the next request should begin, seen before the PUT is answered or after."""
    put = upload_link(ours, key, len(BODY))
    with ours.connect() as connection:
        connection.sendall(request_head(put.url, {**put.headers, "Content-Length": str(len(BODY))}))
        connection.sendall(BODY + b"and some more")
        status = int(connection.recv(4096).split()[1])
    assert status in {200, 400}
    found = ours.client().list_objects_v2(Bucket=BUCKET, Prefix=key)
    assert [each["Size"] for each in found.get("Contents", [])] == ([len(BODY)] if status == 200 else [])


def test_fewer_bytes_than_signed_are_not_taken(ours: Endpoint, key: str) -> None:
    put = upload_link(ours, key, len(BODY))
    with ours.connect() as connection:
        connection.sendall(request_head(put.url, {**put.headers, "Content-Length": str(len(BODY))}))
        connection.sendall(BODY[:-1])
    wait_until(lambda: leftovers(ours) == [], 10, "the temporary file stayed")
    with pytest.raises(ClientError):
        ours.client().head_object(Bucket=BUCKET, Key=key)


def test_a_stream_is_411_where_the_size_was_signed_and_fine_elsewhere(
    ours: Endpoint, key: str, curl: Curl, tmp_path: Path
) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(BODY)
    chunked = ["-H", "Transfer-Encoding: chunked", "-H", "Content-Type: audio/ogg", "-T", str(upload)]
    assert curl(upload_link(ours, key, len(BODY)).url, *chunked)[0] == 411
    with pytest.raises(ClientError):
        ours.client().head_object(Bucket=BUCKET, Key=key)
    assert curl(upload_link(ours, key).url, *chunked)[0] == 200
    assert ours.client().get_object(Bucket=BUCKET, Key=key)["Body"].read() == BODY


def test_an_upload_that_stands_still_is_ended(tmp_path: Path) -> None:
    with embedded(tmp_path, "--stall=0.5") as store:
        put = upload_link(store, "slow")
        with store.connect() as connection:
            connection.sendall(request_head(put.url, {**put.headers, "Content-Length": "1000"}))
            connection.sendall(b"only this")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))  # until it hangs up
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"<Code>RequestTimeout</Code>" in answer
        assert leftovers(store) == []


@pytest.mark.deep
def test_a_link_without_a_length_takes_what_its_type_may_have(tmp_path: Path, curl: Curl) -> None:
    """Beyond that the store hangs up while the bytes come, and keeps none; keys of the server may do more."""
    with embedded(tmp_path, "--ceiling=audio=4000", "--ceiling=image=8000") as store:
        fits, long = tmp_path / "fits", tmp_path / "long"
        fits.write_bytes(BODY)
        long.write_bytes(BODY + b"!")
        for chunked in ([], ["-H", "Transfer-Encoding: chunked"]):
            sent = [*chunked, "-H", "Content-Type: audio/ogg", "-T"]
            assert curl(upload_link(store, "fits").url, *sent, str(fits))[0] == 200
            assert curl(upload_link(store, "long").url, *sent, str(long))[0] == 400
        endless = upload_link(store, "endless")
        with store.connect() as connection:
            connection.sendall(request_head(endless.url, {**endless.headers, "Transfer-Encoding": "chunked"}))
            with contextlib.suppress(ConnectionError):  # it would take all that ever comes
                for _ in range(64):
                    connection.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"<Code>EntityTooLarge</Code>" in answer
        image = store.signer().put_url("image", now=now(), expires_in=60, content_type="image/png")
        assert curl(image.url, "-H", "Content-Type: image/png", "-T", str(long))[0] == 200
        assert leftovers(store) == []
        client = store.client()
        client.put_object(Bucket=BUCKET, Key="server", Body=BODY * 2, ContentType="audio/ogg")
        found = client.list_objects_v2(Bucket=BUCKET)["Contents"]
        assert [each["Key"] for each in found] == ["fits", "image", "server"]


def test_readers_that_do_not_read_cost_little(ours: Endpoint, key: str) -> None:
    size = 48 << 20
    ours.client().put_object(Bucket=BUCKET, Key=key, Body=bytes(size))
    link = ours.signer().get_url(key, now=now(), expires_in=60)
    before = psutil.Process(ours.pid).memory_info().rss
    connections = [ours.connect() for _ in range(10)]
    try:
        for each in connections:
            each.sendall(request_head(link, {}, "GET"))
        for each in connections:
            assert each.recv(1024).startswith(b"HTTP/1.1 200 ")
        grown = psutil.Process(ours.pid).memory_info().rss - before
        assert grown < size  # of ten times as much
    finally:
        for each in connections:
            each.close()


def test_kill_in_the_middle_of_a_put(tmp_path: Path) -> None:
    with embedded(tmp_path) as store:
        client = store.client()
        client.put_object(Bucket=BUCKET, Key="kept", Body=BODY, Metadata={"a": "b"})
        client.put_object(Bucket=BUCKET, Key="half", Body=b"before")
        put = upload_link(store, "half")
        with store.connect() as connection:
            connection.sendall(request_head(put.url, {**put.headers, "Content-Length": str(8 << 20)}))
            connection.sendall(bytes(3 << 20))
            wait_until(lambda: leftovers(store) != [], 10, "no temporary file appeared")
            os.kill(store.pid, signal.SIGKILL)
        assert leftovers(store) != []
    with embedded(tmp_path) as store:
        assert leftovers(store) == []
        client = store.client()
        found = client.get_object(Bucket=BUCKET, Key="kept")
        assert (found["Body"].read(), found["Metadata"]) == (BODY, {"a": "b"})
        assert client.get_object(Bucket=BUCKET, Key="half")["Body"].read() == b"before"
        assert [each["Key"] for each in client.list_objects_v2(Bucket=BUCKET)["Contents"]] == ["half", "kept"]


def test_a_second_process_disturbs_no_upload_of_the_first(tmp_path: Path) -> None:
    with embedded(tmp_path) as first:
        put = upload_link(first, "big", 6 << 20)
        with first.connect() as connection:
            connection.sendall(request_head(put.url, {**put.headers, "Content-Length": str(6 << 20)}))
            connection.sendall(bytes(3 << 20))
            wait_until(lambda: leftovers(first) != [], 10, "no temporary file appeared")
            with embedded(tmp_path) as second:  # sweeps at its start
                connection.sendall(bytes(3 << 20))
                assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
                assert second.client().head_object(Bucket=BUCKET, Key="big")["ContentLength"] == 6 << 20
                second.client().put_object(Bucket=BUCKET, Key="other", Body=BODY)
                assert first.client().get_object(Bucket=BUCKET, Key="other")["Body"].read() == BODY
                second.client().delete_object(Bucket=BUCKET, Key="big")
                with pytest.raises(ClientError):
                    first.client().head_object(Bucket=BUCKET, Key="big")


@pytest.mark.usefixtures("curl")
def test_only_one_of_many_becomes_new(tmp_path: Path) -> None:
    """If-None-Match: * holds across processes, also when all come at once."""
    with embedded(tmp_path) as first, embedded(tmp_path) as second:
        upload = tmp_path / "upload"
        upload.write_bytes(BODY)
        links: list[str] = []
        for store in (first, second):
            link = store.client().generate_presigned_url(
                "put_object", Params={"Bucket": BUCKET, "Key": "one", "IfNoneMatch": "*"}
            )
            links += [link] * 8
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "If-None-Match: *"]
        running = [
            subprocess.Popen([*command, "-T", str(upload), link], stdout=subprocess.PIPE) for link in links
        ]
        statuses = sorted(each.communicate(timeout=LONG)[0] for each in running)
        assert statuses == [b"200"] + [b"412"] * 15
        assert leftovers(first) == []


@pytest.mark.deep
def test_puts_and_deletes_of_neighbours(tmp_path: Path) -> None:
    """Deletes prune empty folders, puts make them: neither may trip over the other."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    with embedded(tmp_path) as first, embedded(tmp_path) as second:
        clients = [first.client(), second.client()]

        def work(number: int) -> None:
            client, name = clients[number % 2], f"deep/er/folder/{number}"
            for _ in range(25):
                client.put_object(Bucket=BUCKET, Key=name, Body=BODY)
                assert client.head_object(Bucket=BUCKET, Key=name)["ContentLength"] == len(BODY)
                client.delete_object(Bucket=BUCKET, Key=name)

        with ThreadPoolExecutor(4) as pool:
            for result in [pool.submit(work, number) for number in range(4)]:
                result.result()
        assert clients[0].list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
        assert not (first.root / BUCKET / "objects" / "deep.d").exists()


def test_the_path_prefix_is_signed(tmp_path: Path, curl: Curl) -> None:
    with embedded(tmp_path, prefix="/store") as store:
        store.client().put_object(Bucket=BUCKET, Key="a/b", Body=BODY)
        link = store.signer().get_url("a/b", now=now(), expires_in=60)
        assert "/store/recordings/a/b?" in link
        assert curl(link)[2] == BODY
        assert curl(link.replace("/store/", "/"))[0] == 400
        assert curl(link.replace("/store/", "/store/../store/"), "--path-as-is")[0] in {400, 403}


def test_the_bytes_are_in_the_file_as_they_are(ours: Endpoint, key: str) -> None:
    ours.client().put_object(Bucket=BUCKET, Key=key, Body=BODY)
    files = [path for path in (ours.root / BUCKET / "objects").rglob("*.o") if "as_they_are" in str(path)]
    assert [path.read_bytes()[: len(BODY)] for path in files] == [BODY]


@pytest.mark.deep
@pytest.mark.usefixtures("curl")
def test_a_large_object_streams_through_little_memory(ours: Endpoint, key: str, tmp_path: Path) -> None:
    size = 200 << 20
    upload = tmp_path / "upload"
    with upload.open("wb") as file:
        file.truncate(size)
    put = upload_link(ours, key, size)
    process = psutil.Process(ours.pid)
    before = process.memory_info().rss
    command = ["curl", "-sS", "--fail", "-T", str(upload), "-H", "Content-Type: audio/ogg", put.url]
    running = subprocess.Popen(command)
    peak = before
    while running.poll() is None:
        peak = max(peak, process.memory_info().rss)
    assert running.returncode == 0
    link = ours.signer().get_url(key, now=now(), expires_in=60)
    reading = subprocess.Popen(["curl", "-sS", "--fail", "-o", str(tmp_path / "got"), link])
    while reading.poll() is None:
        peak = max(peak, process.memory_info().rss)
    assert reading.returncode == 0
    with (tmp_path / "got").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == hashlib.sha256(bytes(size)).digest()
    assert peak - before < 64 << 20
    ours.client().delete_object(Bucket=BUCKET, Key=key)


def test_a_disk_that_fills_up_meanwhile(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "tiny") as disk, embedded(disk, "--min-free=0") as store:
        signer = store.signer()
        put = signer.put_url("stream", now=now(), expires_in=60, content_type="a/b")
        chunks = (bytes(1 << 16) for _ in range(200))  # 13 MB whose size nobody knew
        assert http.put(put.url, content=chunks, headers=put.headers).status_code == 507
        assert leftovers(store) == []
        statuses: list[int] = []
        for number in range(20):  # no file can be made any more, though there is room
            put = signer.put_url(f"{number}", now=now(), expires_in=60, content_type="a/b")
            statuses.append(http.put(put.url, content=b"x", headers=put.headers).status_code)
        assert statuses[0] == 200
        assert set(statuses) == {200, 507}
        assert leftovers(store) == []
        kept = [f"{number}" for number, status in enumerate(statuses) if status == 200]
        listed = store.client().list_objects_v2(Bucket=BUCKET)["Contents"]
        assert sorted(each["Key"] for each in listed) == sorted(kept)


@pytest.mark.parametrize("wrong", [False, True])
def test_a_large_object_of_a_fast_client_is_compared_with_its_hash(
    ours: Endpoint, key: str, *, wrong: bool
) -> None:
    """Most of its bytes do not pass through the event loop, and neither do those of its answer."""
    content = os.urandom(24 << 20)
    sent = content[:-1] + bytes([content[-1] ^ 1]) if wrong else content
    streams = ObjectStreams(ours.signer())
    with streams.write(key, len(content), hashlib.sha256(content).hexdigest()) as upload:
        upload.send(sent)
        if wrong:
            with pytest.raises(ObjectDiffers):
                upload.finish()
        else:
            assert upload.finish()
    assert leftovers(ours) == []
    if wrong:
        with pytest.raises(ObjectMissing):
            streams.read(key)
    else:
        with streams.read(key) as reader:
            stored = memoryview(bytearray(len(content)))
            assert reader.read_into(stored) == len(content)
        assert stored == content
