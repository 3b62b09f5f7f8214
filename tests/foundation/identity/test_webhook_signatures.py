"""Signatures of deliveries, checked with a published example and with a receiver's own arithmetic."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.foundation.identity.webhook_signatures import delivery_headers, new_secret, standard_signature

OLD, NEW = new_secret(bytes(range(32))), new_secret(bytes(range(1, 33)))


def test_the_published_example_of_the_standard_is_signed_alike() -> None:
    """The example is that of "Verifying webhooks manually" (https://docs.svix.com/receiving/verifying-payloads/how-manual)."""
    signature = standard_signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(max_size=2000), st.integers(1_000_000_000, 9_999_999_999))
def test_a_receiver_that_knows_only_the_contract_verifies_both_signatures(
    body: bytes, timestamp: int
) -> None:
    headers = delivery_headers("evt_1", 7, body, timestamp=timestamp, secrets=(NEW, OLD))
    sent_at = headers["X-Bota-Timestamp"]
    expected = hmac.new(NEW.encode(), sent_at.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["X-Bota-Signature"] == f"v1={expected}"
    assert headers["webhook-timestamp"] == sent_at == str(timestamp)
    assert headers["webhook-id"] == headers["X-Bota-Event-Id"] == "evt_1"
    assert headers["X-Lapel-Sequence"] == "7"
    for secret, signature in zip((NEW, OLD), headers["webhook-signature"].split(" "), strict=True):
        key = base64.b64decode(secret.removeprefix("whsec_"))
        content = f"evt_1.{sent_at}.".encode() + body
        assert signature == "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def test_a_secret_is_the_prefix_and_base64_of_32_bytes() -> None:
    assert base64.b64decode(NEW.removeprefix("whsec_")) == bytes(range(1, 33))
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        new_secret(b"x" * 31)


def test_a_malformed_secret_and_no_secret_are_refused() -> None:
    for secrets in ((), ("sk_live_x",), ("whsec_%%",)):
        with pytest.raises(ValueError, match=r"secret|base64|padding|characters"):
            delivery_headers("evt_1", 1, b"{}", timestamp=1_700_000_000, secrets=secrets)
