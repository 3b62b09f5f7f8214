"""The regions in which engines keep and process the audio that they receive, each with its address.

With `global`, the vendor chooses the place (base URL None). Sources, November 2026: "Regional Endpoints" of
Deepgram, AssemblyAI's API specification, ElevenLabs' client 2.78.0, "Your data" of OpenAI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.text_cleaning import plain

if TYPE_CHECKING:
    from lapel.slices.providers.choice import Engine

GLOBAL: Final = "global"
_ADDRESSES: Final[dict[str, dict[str, str]]] = {
    "deepgram": {
        "eu": "https://api.eu.deepgram.com",
        "au": "https://api.au.deepgram.com",
        "in": "https://api.in.deepgram.com",
    },
    "assemblyai": {"eu": "https://api.eu.assemblyai.com"},
    "elevenlabs": {
        "eu": "https://api.eu.residency.elevenlabs.io",
        "in": "https://api.in.residency.elevenlabs.io",
        "sg": "https://api.sg.residency.elevenlabs.io",
        "us": "https://api.us.elevenlabs.io",
    },
    "openai": {
        "eu": "https://eu.api.openai.com/v1",
        "au": "https://au.api.openai.com/v1",
        "in": "https://in.api.openai.com/v1",
        "jp": "https://jp.api.openai.com/v1",
        "us": "https://us.api.openai.com/v1",
    },
}


def address_of(engine: Engine, region: str) -> str | None:
    """The base URL of a region; None for `global`. Raises InvalidRequest if the engine has no such region."""
    known = _ADDRESSES.get(engine, {})
    if region == GLOBAL and known:
        return None
    if region not in known:
        listed = ", ".join([*known, GLOBAL]) if known else "none"
        raise InvalidRequest(
            f"{engine} has no region {plain(region)!r}. Its regions are: {listed}.", param="region"
        )
    return known[region]


def region_of(engine: Engine, base_url: str | None) -> str | None:
    """The region with this base URL; None for an address that is not a preset."""
    known = _ADDRESSES.get(engine)
    if known is None:
        return None
    if base_url is None:
        return GLOBAL
    return next((region for region, address in known.items() if address == base_url), None)
