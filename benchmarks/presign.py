"""The cost of one signed GET link with both response overrides: ours against botocore's.

Run `python -m benchmarks.presign`. CPU time of this process, the median of 15 rounds, both in turn.
"""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from botocore.config import Config
from botocore.session import Session

from benchmarks.report import Row, show
from lapel.foundation.storage.credentials import Credentials, StaticCredentials
from lapel.foundation.storage.presign import Presigner

ROUNDS = 15
ENDPOINT = "http://127.0.0.1:9000"
KEY = "media/proj_{0}/rec_{0}/med_{0}/att_{0}/audio.opus".format("0Fq7KpZrT2uVwXyAbCdEfGhJ")
TYPE = "audio/ogg"
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


def _ours() -> Callable[[int], object]:
    signer = Presigner(
        ENDPOINT,
        region="us-east-1",
        bucket="lapel",
        credentials=StaticCredentials(Credentials("AKID", "secret")),
    )

    def sign(index: int) -> object:
        return signer.get_url(
            KEY,
            now=NOW.replace(second=index % 60),
            expires_in=3600,
            response_content_type=TYPE,
            response_content_disposition=f'inline; filename="stand-up {index}.opus"',
        )

    return sign


def _botocore() -> Callable[[int], object]:
    client: Any = Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=ENDPOINT,
        aws_access_key_id="AKID",
        aws_secret_access_key="secret",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )

    def sign(index: int) -> object:
        params = {
            "Bucket": "lapel",
            "Key": KEY,
            "ResponseContentDisposition": f'inline; filename="stand-up {index}.opus"',
            "ResponseContentType": TYPE,
        }
        return client.generate_presigned_url("get_object", Params=params, ExpiresIn=3600)

    return sign


def _microseconds(sign: Callable[[int], object], calls: int) -> float:
    start = time.process_time()
    for index in range(calls):
        sign(index)
    return (time.process_time() - start) / calls * 1e6


def measure() -> list[Row]:
    """Microseconds of CPU per link, and the ratio."""
    ours, theirs = _ours(), _botocore()
    for warm in (ours, theirs):
        _microseconds(warm, 50)
    rounds = [(_microseconds(ours, 2000), _microseconds(theirs, 200)) for _ in range(ROUNDS)]
    our, their = (statistics.median(values) for values in zip(*rounds, strict=True))
    return [
        Row(
            "signed GET link: CPU time of botocore, of ours",
            their / our,
            at_least=10,
            detail=f"{their:.1f} us and {our:.1f} us, both response overrides, {ROUNDS} rounds in turn",
        )
    ]


if __name__ == "__main__":
    show(measure())
