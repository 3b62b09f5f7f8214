"""Checks of the operator's settings for a slot. Every function raises InvalidRequest when its argument is not
valid; the message says what to do."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lapel.foundation.core.errors import InvalidRequest
from lapel.slices.transcription.providers.choice import ENGINES, SLOTS, Engine, Slot
from lapel.slices.transcription.speech.text_cleaning import plain

if TYPE_CHECKING:
    from lapel.slices.transcription.providers.choice import SlotChoice

_MOST_MODEL, _MOST_URL, _MOST_KEY = 200, 500, 4096
# The characters that a header may carry.
_KEY = re.compile(r"[!-~]+")
_HOST = re.compile(r"[a-z0-9_.:-]+")


def checked_slot(slot: str) -> Slot:
    """The slot of this name. Raises InvalidRequest when there is none."""
    for each in SLOTS:
        if each == slot:
            return each
    listed = ", ".join(SLOTS)
    raise InvalidRequest(f"There is no slot {plain(slot)!r}. The slots are: {listed}.", param="slot")


def checked_engine(engine: str | None, slot: Slot) -> Engine:
    """The engine of this name. If `engine` is None, the engine with the name of the slot.

    Raises InvalidRequest when there is no such engine.
    """
    for each in ENGINES:
        if each == (engine or slot):
            return each
    listed = ", ".join(ENGINES)
    if engine is None:
        raise InvalidRequest(f"Name the engine that answers {slot}: {listed}.", param="engine")
    raise InvalidRequest(f"There is no engine {plain(engine)!r}. The engines are: {listed}.", param="engine")


def checked_base_url(text: str) -> str:
    """The address without a final slash. It must be https, or http on this machine.

    Raises InvalidRequest for any other address, and for an address with a user name, a password, a query or a
    fragment.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if (
        host is None
        or plain(text) != text
        or " " in text
        or not _HOST.fullmatch(host)
        or len(text) > _MOST_URL
    ):
        raise InvalidRequest(
            "The base URL is no address; write it as https://speech.example.com/v1.", param="base_url"
        )
    if "@" in parts.netloc:
        raise InvalidRequest(
            "The base URL holds a name or password; give the key separately.", param="base_url"
        )
    if "?" in text or "#" in text:
        raise InvalidRequest("The base URL may not contain ? or #.", param="base_url")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise InvalidRequest(
            "The base URL must begin with https://, or key and audio would travel open. http:// is for an "
            "engine on this machine (localhost, 127.0.0.1, ::1); in front of another one put TLS.",
            param="base_url",
        )
    return text.rstrip("/")


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
    if choice.engine == "local":
        if choice.base_url is not None or choice.key is not None:
            raise InvalidRequest("The local engine takes neither address nor key.", param="engine")
    elif choice.base_url is None and choice.key is None:
        raise InvalidRequest(f"{choice.engine} needs a key.", param="key")
    return choice


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
