"""What the tokens of a call cost."""

from __future__ import annotations

from decimal import Decimal

import pytest

from lapel.slices.language_models.budget.token_prices import TokenPrices
from lapel.slices.language_models.service import Tokens

USED = Tokens(input=1000, output=100, cached=600, cache_written=300)


@pytest.mark.parametrize(
    ("prices", "micros"),
    [
        ({}, 0),
        ({"input": "2", "output": "10"}, 3000),
        ({"input": "2", "output": "10", "cached": "0.2"}, 200 + 120 + 600 + 1000),
        ({"input": "2", "output": "10", "cached": "0.2", "cache_write": "2.5"}, 200 + 120 + 750 + 1000),
        ({"input": "2", "cached": "0"}, 800),
        ({"output": "0.0001"}, 0),
    ],
)
def test_kept_tokens_have_their_own_prices(prices: dict[str, str], micros: int) -> None:
    made = TokenPrices(**{name: Decimal(price) for name, price in prices.items()})
    assert made.cost_micros(USED) == micros


def test_an_engine_that_tells_nothing_costs_nothing() -> None:
    assert TokenPrices(input=Decimal(2), output=Decimal(10)).cost_micros(Tokens()) == 0
