"""Queries of links are parsed as any other query, and share what is the same."""

import pytest

from lapel.embedded.s3.protocol.query import read_query
from lapel.embedded.s3.s3_errors import S3Error

PROOF = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "proof",
    [
        PROOF,
        PROOF.upper(),
        PROOF[:-1],
        PROOF + "0",
        "",
        "%30" + PROOF[1:],
        "é" * 32,
        PROOF[:30] + "&b=" + PROOF[33:],
    ],
)
@pytest.mark.parametrize("rest", ["a=1&c=%2F", "", "a=1&long=" + "x" * 2000, "c=%2f&a=1"])
def test_a_signature_may_stand_anywhere(rest: str, proof: str) -> None:
    last, signature = read_query(f"{rest}&X-Amz-Signature={proof}".encode())
    first, same = read_query(f"X-Amz-Signature={proof}&{rest}".encode())
    assert signature == same
    assert last.values == first.values
    assert last.canonical == first.canonical
    assert last.selecting == first.selecting
    assert "X-Amz-Signature" not in last.values
    assert PROOF not in last.canonical


@pytest.mark.parametrize("first", ["X-Amz-Signature", "X-Amz%2DSignature", "a", "%61"])
def test_a_name_that_is_given_twice_is_refused(first: str) -> None:
    with pytest.raises(S3Error, match="twice"):
        read_query(f"{first}={PROOF}&a=1&X-Amz-Signature={PROOF}&a=2".encode())
    with pytest.raises(S3Error, match="twice"):
        read_query(f"{first}={PROOF}&a=1&X-Amz-Signature={PROOF}".encode())


def test_links_of_one_second_share_their_query_and_no_signature() -> None:
    one, signature = read_query(f"a=1&X-Amz-Signature={PROOF}".encode())
    other, other_signature = read_query(f"a=1&X-Amz-Signature={PROOF[::-1]}".encode())
    assert one is other
    assert (signature, other_signature) == (PROOF, PROOF[::-1])
    assert one.signature is None
