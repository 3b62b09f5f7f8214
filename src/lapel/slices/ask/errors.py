"""The errors of Ask that clients see."""

from __future__ import annotations

from lapel.foundation.core.errors import ApiError


class ProviderError(ApiError):
    """The language model did not answer, or not in time; nothing is stored."""

    status, code = 502, "provider_error"
