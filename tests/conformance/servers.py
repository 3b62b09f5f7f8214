"""The two servers that the suite compares, each a real process on ports of its own."""

import contextlib
import ctypes
import functools
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
from botocore.config import Config

from lapel.foundation.storage.credentials import Credentials, StaticCredentials
from lapel.foundation.storage.presign import Presigner
from tests.support.patience import LONG, Deadline
from tests.support.plain_http import http
from tests.support.ports import free_ports

ACCESS_KEY, SECRET = "AKIDTEST", "test-secret"
REGION, BUCKET = "us-east-1", "recordings"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A running store, and clients for it."""

    kind: str
    url: str
    root: Path
    pid: int

    def client(self, secret: str = SECRET, **options: Any) -> Any:
        """A boto3 client that neither retries nor hides what the store says. Calls share it."""
        return _client(self.url, secret, **options)

    def signer(self, secret: str = SECRET, bucket: str = BUCKET, region: str = REGION) -> Presigner:
        """Our own signer for it."""
        source = StaticCredentials(Credentials(ACCESS_KEY, secret))
        return Presigner(self.url, region=region, bucket=bucket, credentials=source)

    def connect(self) -> socket.socket:
        """A raw connection."""
        parts = urlsplit(self.url)
        return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=LONG)


@functools.cache  # to make one takes longer than most tests
def _client(url: str, secret: str, **options: Any) -> Any:
    config = Config(
        s3={"addressing_style": "path"},
        retries={"total_max_attempts": 1},
        signature_version="s3v4",
        read_timeout=LONG,
        **options,
    )
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=secret,
        config=config,
    )


def now() -> datetime:
    """The present: what signatures must agree with."""
    return datetime.now(UTC)


def wait_until(check: Callable[[], bool], seconds: float, what: str) -> None:
    """Look again and again; fail when it never comes true."""
    end = Deadline(seconds)
    while not check():
        if end.has_passed():
            raise TimeoutError(what)
        time.sleep(0.02)


def _answers(url: str) -> bool:
    try:
        http.get(url, timeout=2)
    except httpx.TransportError:
        return False
    return True


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """Leave no server behind when the tests are killed (Linux)."""
    if _libc is not None:
        _libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


@contextlib.contextmanager
def _process(
    command: list[str], folder: Path, env: dict[str, str], grace: float = 5
) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "output.txt").open("ab") as output:
        process = subprocess.Popen(
            command,
            env=env,
            stdout=output,
            stderr=output,
            cwd=folder,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - it calls prctl alone
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(grace)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


@contextlib.contextmanager
def embedded(folder: Path, *options: str, scheme: str = "http", prefix: str = "") -> Iterator[Endpoint]:
    """Our own store over `folder`/objects."""
    folder.mkdir(parents=True, exist_ok=True)
    [port] = free_ports(1)
    command = [sys.executable, "-m", "tests.conformance.serve", str(folder / "objects"), f"--port={port}"]
    project = Path(__file__).parents[2]
    path = f"{project}:{project / 'src'}"
    with _process([*command, f"--prefix={prefix}", *options], folder, {"PYTHONPATH": path}) as process:
        url = f"{scheme}://127.0.0.1:{port}{prefix}"
        wait_until(lambda: _listens(port), 15, "the embedded store does not listen")
        yield Endpoint("embedded", url, folder / "objects", process.pid)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def seaweedfs(folder: Path, *, lean: bool = True) -> Iterator[Endpoint]:
    """SeaweedFS from its wheel, silent to the outside, on loopback only.

    `lean`: with little memory, for tests; otherwise with the caches and the collector as its makers ship it.
    """
    s3, *others = free_ports(10)
    names = (
        "s3.port.grpc",
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "admin.port",
        "admin.port.grpc",
    )
    command = [
        str(Path(sys.executable).with_name("weed")),
        "mini",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-s3.port={s3}",
        *(f"-{name}={port}" for name, port in zip(names, others, strict=True)),
        "-webdav=false",
        "-admin.ui=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        "-disableHttp",
        f"-bucket={BUCKET}",
        *(("-s3.cacheCapacityMB=0", "-s3.readerCacheSizeMB=32") if lean else ()),
    ]
    env = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        **({"GOMEMLIMIT": "200MiB", "GOGC": "50"} if lean else {}),
        "HOME": str(folder),
        "TMPDIR": str(folder),  # its logs
    }
    try:
        yield from _seaweedfs(command, folder, env, s3)
    finally:
        for port in (s3, *others):  # no flag says where its sockets are
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)


def _seaweedfs(command: list[str], folder: Path, env: dict[str, str], s3: int) -> Iterator[Endpoint]:
    with _process(command, folder, env, grace=0.1) as process:  # its own stop takes five seconds
        endpoint = Endpoint("seaweedfs", f"http://127.0.0.1:{s3}", folder, process.pid)

        def ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"SeaweedFS has ended: {(folder / 'output.txt').read_text()[-1000:]}")
            return _answers(endpoint.url)

        wait_until(ready, 30, "SeaweedFS does not answer")
        client = endpoint.client()

        def writable() -> bool:
            try:
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
            except client.exceptions.ClientError:
                return False
            return True

        wait_until(writable, 30, "SeaweedFS takes no object")
        client.delete_object(Bucket=BUCKET, Key="ready")
        yield endpoint
