"""What a decoder says of input that it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.http.input.decoding import BodyDecoder, QueryDecoder


def refused(decoder: BodyDecoder[Any] | QueryDecoder[Any], raw: bytes) -> InvalidRequest:
    """The refusal of these bytes; fails when they are taken."""
    with pytest.raises(InvalidRequest) as caught:
        decoder(raw)
    error = caught.value
    assert error.status == 400
    assert len(error.details) == 1
    json.dumps(error.message).encode()  # it can be sent
    return error
