"""Over TLS boto3 sends unsigned chunks with a trailing checksum: the body format of its defaults."""

import io
import os
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from tests.conformance.servers import ACCESS_KEY, BUCKET, REGION, SECRET, embedded


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
