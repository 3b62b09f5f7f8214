"""aws-chunked bodies: the documented example, cut anywhere."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.embedded.s3.protocol.chunked import ChunkedDecoder
from lapel.embedded.s3.protocol.signature import Signed
from lapel.embedded.s3.s3_errors import S3Error
from lapel.foundation.storage.sigv4 import signing_key

# The example of the Amazon S3 API reference, "Signature Calculations … in Multiple Chunks".
EXAMPLE = Signed(
    headers=frozenset(),
    payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    timestamp="20130524T000000Z",
    scope="20130524/us-east-1/s3/aws4_request",
    key=signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1"),
    signature="4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
)
BODY = b"".join(
    [
        b"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n",
        b"a" * 65536,
        b"\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n",
        b"a" * 1024,
        b"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n",
    ]
)
UNSIGNED = EXAMPLE._replace(payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER")


def decode(signed: Signed, pieces: list[bytes]) -> tuple[bytes, dict[str, str]]:
    decoder = ChunkedDecoder(signed)
    found = b"".join(bytes(data) for piece in pieces for data in decoder.feed(piece))
    decoder.finish()
    return found, decoder.trailers


@given(st.lists(st.integers(0, len(BODY)), max_size=8))
def test_the_documented_example_cut_anywhere(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(BODY)]
    pieces = [BODY[start:end] for start, end in pairwise(places)]
    assert decode(EXAMPLE, pieces) == (b"a" * 66560, {})


@pytest.mark.parametrize("place", [30, 200, 65_700, 66_600, len(BODY) - 20])
def test_any_change_is_noticed(place: int) -> None:
    changed = BODY[:place] + bytes([BODY[place] ^ 1]) + BODY[place + 1 :]
    with pytest.raises(S3Error):
        decode(EXAMPLE, [changed])


@pytest.mark.parametrize("length", [0, 10, 100, 60_000, len(BODY) - 2])
def test_any_missing_end_is_noticed(length: int) -> None:
    with pytest.raises(S3Error):
        decode(EXAMPLE, [BODY[:length]])


def test_trailers() -> None:
    body = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
    assert decode(UNSIGNED, [body]) == (b"hello", {"x-amz-checksum-crc32": "NhCmhg=="})


@pytest.mark.parametrize(
    "body",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5;chunk-signature=" + b"0" * 64 + b"\r\nhello\r\n0\r\n\r\n",
        b"0\r\n\r\nmore",
        b"0\r\nbad trailer\r\n\r\n",
        b"0\r\n" + b"".join(b"x-%d:b\r\n" % n for n in range(9)) + b"\r\n",
        b"0\r\nx-a:b\r\nx-a:b\r\n\r\n",
        b"1" * 600,
        b"fffffffffff\r\n",
        b"",
    ],
)
def test_what_is_no_such_body(body: bytes) -> None:
    with pytest.raises(S3Error):
        decode(UNSIGNED, [body])


@pytest.mark.parametrize("payload", ["STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "STREAMING-X"])
def test_other_formats_are_refused(payload: str) -> None:
    with pytest.raises(S3Error, match="does not accept"):
        ChunkedDecoder(EXAMPLE._replace(payload=payload))
