"""Remote language models as their makers specify them (autumn 2026), on a port of this machine.

Nothing here knows Lapel: each service takes what its specification allows, refuses the rest in the maker's
own form of error, and answers in the maker's shapes. Its answers are a function from the request to a text.

    service = LanguageService("anthropic", answer=lambda asked: "Yes.")
    async with serving(service):
        …                                 # service.url is its base URL, service.key its key
    assert service.asked[0].messages[-1] == ("user", "Is it?")

`misbehave("hang")` and the like, or `fail(status(429, {}))`, spoil the next call.
"""

from tests.support.language_services.service import (
    Answer,
    Asked,
    LanguageService,
    Misbehaviour,
    serving,
    slot_choice,
)

__all__ = ["Answer", "Asked", "LanguageService", "Misbehaviour", "serving", "slot_choice"]
