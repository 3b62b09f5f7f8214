"""What a judge reads, and what it says."""

from __future__ import annotations

from typing import Literal

import msgspec

Verdict = Literal["supported", "absent"]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was said: sentences, in order. `about`: names and dates that explain a name or a number of a claim
    and are no speech, such as the recording's name and the speaker's label."""

    sentences: list[str]
    about: str = ""


class Judgement(msgspec.Struct, frozen=True):
    """`sentence`: the place of the sentence that decides, from 0; None if none does."""

    verdict: Verdict
    sentence: int | None = None


ABSENT = Judgement("absent")
