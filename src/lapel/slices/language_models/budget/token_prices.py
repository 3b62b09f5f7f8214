"""What the tokens of a call cost."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from lapel.slices.language_models.language_model import Tokens


class TokenPrices(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of a model: US dollars for a million tokens, which are millionths of a US dollar for a token.

    None: unknown, which counts as nothing. `cached`, `cache_write`: of the input that the service had kept,
    and of that which it begins to keep; None: the price of other input.
    """

    input: Decimal | None = None
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    output: Decimal | None = None

    def cost_micros(self, used: Tokens) -> int:
        """Millionths of a US dollar for the tokens of a call."""
        plain = self.input or Decimal(0)
        cached, written = used.cached or 0, used.cache_written or 0
        parts = (
            (max((used.input or 0) - cached - written, 0), plain),
            (cached, plain if self.cached is None else self.cached),
            (written, plain if self.cache_write is None else self.cache_write),
            (used.output or 0, self.output or Decimal(0)),
        )
        return round(sum((count * price for count, price in parts), Decimal(0)))
