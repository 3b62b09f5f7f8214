"""What a judge reads, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from lapel.slices.search.service import Sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

# Only a reader tells that a claim is contradicted: words do not show it.
Verdict = Literal["supported", "contradicted", "absent"]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was said: sentences, in order. `about`: names and dates that explain a name or a number of a claim
    and are no speech, such as the recording's name and the speaker's label."""

    sentences: list[Sentence]
    about: str = ""

    @property
    def texts(self) -> Sequence[str]:
        """The texts of the sentences."""
        return [each.text for each in self.sentences]


class Judgement(msgspec.Struct, frozen=True):
    """`sentence`: the place of the sentence that decides, from 0; None if none does. `difference`: what the
    claim says otherwise or adds, in a reader's words; empty if no reader told it."""

    verdict: Verdict
    sentence: int | None = None
    difference: str = ""


ABSENT = Judgement("absent")
