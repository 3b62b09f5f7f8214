"""Over TLS boto3 sends unsigned chunks with a trailing checksum: the body format of its defaults."""

import io
import os
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conformance.servers import ACCESS_KEY, BUCKET, REGION, SECRET, embedded, now


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


@pytest.mark.parametrize("algorithm", ["CRC32", pytest.param("SHA256", marks=pytest.mark.deep)])
def test_streams_with_a_trailing_checksum(tmp_path: Path, certificate: Path, algorithm: str) -> None:
    with embedded(tmp_path / "store", f"--tls={certificate}", scheme="https") as store:
        client = boto3.client(
            "s3",
            endpoint_url=store.url,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET,
            verify=str(certificate / "cert.pem"),
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )
        sent: list[str] = []
        client.meta.events.register(
            "before-send.s3.PutObject",
            lambda request, **_: sent.append(request.headers["x-amz-content-sha256"].decode()),
        )
        body = os.urandom(3 << 20)
        client.put_object(Bucket=BUCKET, Key="k", Body=io.BytesIO(body), ChecksumAlgorithm=algorithm)
        assert sent == ["STREAMING-UNSIGNED-PAYLOAD-TRAILER"]
        found = client.get_object(Bucket=BUCKET, Key="k", ChecksumMode="ENABLED")
        assert found["Body"].read() == body
        assert found[f"Checksum{algorithm}"]
        client.close()
