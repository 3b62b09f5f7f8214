"""Checks of the operator's settings for a slot. Every function raises InvalidRequest when its argument is not
valid; the message says what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.outbound.urls import ForbiddenUrl, check_url
from lapel.foundation.text_cleaning import plain
from lapel.slices.providers.choice import (
    LANGUAGE_ENGINES,
    LANGUAGE_SLOTS,
    SLOTS,
    SPEECH_ENGINES,
    Engine,
    Slot,
)

if TYPE_CHECKING:
    from lapel.foundation.outbound.policy import OutboundPolicy
    from lapel.slices.providers.choice import SlotChoice

# Slots whose maker's engine has another name.
_MAKERS: dict[Slot, Engine] = {"claude": "anthropic"}
# A smaller window leaves no room for a question and parts of a recording. US dollars for a million tokens.
_LEAST_CONTEXT, _MOST_CONTEXT, _MOST_PRICE = 2048, 100_000_000, 100_000
_MOST_MODEL, _MOST_URL, _MOST_KEY = 200, 500, 4096
# The characters that a header may carry.
_KEY = re.compile(r"[!-~]+")


def checked_slot(slot: str) -> Slot:
    """The slot of this name. Raises InvalidRequest when there is none."""
    for each in SLOTS:
        if each == slot:
            return each
    listed = ", ".join(SLOTS)
    raise InvalidRequest(f"There is no slot {plain(slot)!r}. The slots are: {listed}.", param="slot")


def checked_engine(engine: str | None, slot: Slot) -> Engine:
    """The engine of this name. If `engine` is None, the engine of the slot's maker.

    Raises InvalidRequest when there is no such engine for the slot.
    """
    engines: tuple[Engine, ...] = LANGUAGE_ENGINES if slot in LANGUAGE_SLOTS else SPEECH_ENGINES
    for each in engines:
        if each == (engine or _MAKERS.get(slot, slot)):
            return each
    listed = ", ".join(engines)
    if engine is None:
        raise InvalidRequest(f"Name the engine that answers {slot}: {listed}.", param="engine")
    raise InvalidRequest(
        f"There is no engine {plain(engine)!r} for {slot}; there are: {listed}.", param="engine"
    )


def checked_base_url(text: str, policy: OutboundPolicy) -> str:
    """The address without a final slash. It must be https, or http in a network of the policy.

    Raises InvalidRequest for any other address, and for an address with a user name, a password, a query or a
    fragment.
    """
    if "?" in text or "#" in text:
        raise InvalidRequest("The base URL may not contain ? or #.", param="base_url")
    try:
        url = check_url(text, policy).rstrip("/")
    except ForbiddenUrl as fault:
        raise InvalidRequest(f"{fault}", param="base_url") from fault
    if len(url) > _MOST_URL:
        raise InvalidRequest(f"The base URL is longer than {_MOST_URL} characters.", param="base_url")
    return url


def checked_choice(choice: SlotChoice) -> SlotChoice:
    """The choice itself. Raises InvalidRequest when a part is not valid or the parts do not fit together."""
    if choice.model is not None and (
        not choice.model or plain(choice.model) != choice.model or len(choice.model) > _MOST_MODEL
    ):
        raise InvalidRequest(f"A model's name has 1 to {_MOST_MODEL} printable characters.", param="model")
    if choice.key is not None and (not _KEY.fullmatch(choice.key) or len(choice.key) > _MOST_KEY):
        raise InvalidRequest(f"A key is 1 to {_MOST_KEY} visible ASCII characters on one line.", param="key")
    if choice.allow_training and choice.engine != "deepgram":
        raise InvalidRequest(
            f"{choice.engine} has no training option in its requests; the settings of its account decide.",
            param="allow_training",
        )
    _check_numbers(choice)
    if choice.engine == "local":
        if choice.base_url is not None or choice.key is not None:
            raise InvalidRequest("The local engine takes neither address nor key.", param="engine")
    elif choice.base_url is None and choice.key is None:
        raise InvalidRequest(f"{choice.engine} needs a key.", param="key")
    return choice


def _check_numbers(choice: SlotChoice) -> None:
    """Raises InvalidRequest for window and prices of a slot of speech, and for numbers out of range."""
    prices = {
        "input_price": choice.input_price,
        "cached_price": choice.cached_price,
        "cache_write_price": choice.cache_write_price,
        "output_price": choice.output_price,
    }
    numbers = [choice.context_tokens, *prices.values()]
    if choice.slot not in LANGUAGE_SLOTS and any(each is not None for each in numbers):
        raise InvalidRequest(f"{choice.slot} counts no tokens.", param="context_tokens")
    window = choice.context_tokens
    if window is not None and not _LEAST_CONTEXT <= window <= _MOST_CONTEXT:
        raise InvalidRequest(
            f"The window has {_LEAST_CONTEXT} to {_MOST_CONTEXT} tokens.", param="context_tokens"
        )
    for name, price in prices.items():
        if price is not None and not (price.is_finite() and 0 <= price <= _MOST_PRICE):
            raise InvalidRequest(
                f"A price is 0 to {_MOST_PRICE} US dollars for a million tokens.", param=name
            )
