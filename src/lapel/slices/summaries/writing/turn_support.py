"""Whether a transcript supports what a summary says.

An entry is supported if its content words are in the turns that the model names for it, or in other turns, or
if its meaning is near that of the turns. Its numbers and its links must have been said.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lapel.slices.language_models.extractive.claim_support import has_enough, numbers_were_said
from lapel.slices.language_models.extractive.content_words import all_words, content_words
from lapel.slices.language_models.extractive.text_links import links_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lapel.slices.summaries.writing.turns import SpokenTurn

# The share of an entry's content words that the turns must have which the model names, and which it does not
# name.
_NAMED_SHARE, _FOUND_SHARE = 0.25, 0.5
# A text with more content words than this is about more than five turns: its words are compared with those of
# all turns.
_LONG, _LONG_SHARE = 20, 0.35
# The most turns of an entry's evidence.
MOST_TURNS = 5


class Support:
    """What each turn of a transcript supports."""

    def __init__(self, turns: Sequence[SpokenTurn]) -> None:
        """Takes about a millisecond for each 50 turns: call it in a thread for long transcripts."""
        self.turns = turns
        self._words: list[frozenset[str]] = []
        self._of_word: dict[str, list[int]] = {}
        for turn in turns:
            words = frozenset(content_words(f"{turn.speaker or ''} {turn.text}"))
            self._words.append(words)
            for word in words:
                self._of_word.setdefault(word, []).append(turn.index)

        self._said = frozenset(self._of_word)
        self.links = links_in("\n".join(turn.text for turn in turns))

    def valid(self, indices: Iterable[int]) -> list[int]:
        """The indices that are turns, in order, `MOST_TURNS` at most."""
        good = (each for each in indices if 0 <= each < len(self.turns))
        return sorted(dict.fromkeys(good))[:MOST_TURNS]

    def by_words(self, text: str, named: Sequence[int]) -> list[int] | None:
        """The turns that support a text by their words; None if none do. `named`: the turns that the model
        names."""
        wanted, turns = frozenset(content_words(text)), self.valid(named)
        if len(wanted) > _LONG:
            return self._of_long(text, wanted, turns)
        near = self._near(turns)
        if turns and self._holds(text, wanted, near, _NAMED_SHARE):
            return turns
        found = self._most_alike(wanted)
        if found and self._holds(text, wanted, found, _FOUND_SHARE):
            return sorted(found)
        return None

    def _of_long(self, text: str, wanted: frozenset[str], named: list[int]) -> list[int] | None:
        if len(wanted & self._said) < _LONG_SHARE * len(wanted):
            return None
        if not numbers_were_said(text, [turn.text for turn in self.turns]):
            return None
        return named or sorted(self._most_alike(wanted))

    def around(self, text: str, named: Iterable[int], *, most: int) -> list[int]:
        """The turns to read with a text: those that the model names, those with most of its words, and the
        turns beside both, in order; of more characters than `most`, the first of these."""
        alike = self._most_alike(frozenset(content_words(text)))
        centres = [*self.valid(named), *alike]
        chosen: dict[int, None] = {}
        left = most
        for each in (*centres, *(place for one in centres for place in self._near([one]))):
            if each not in chosen and (not chosen or len(self.turns[each].text) <= left):
                chosen[each] = None
                left -= len(self.turns[each].text)
        return sorted(chosen)

    def numbers_were_said(self, text: str, turns: Sequence[int]) -> bool:
        """Whether the numbers of a text were said in or beside these turns, in digits or in words."""
        near = (self.turns[each] for each in self._near(turns))
        return numbers_were_said(text, [f"{each.speaker or ''} {each.text}" for each in near])

    def _holds(self, text: str, wanted: frozenset[str], turns: Sequence[int], share: float) -> bool:
        if not self.numbers_were_said(text, turns):
            return False
        if not wanted:
            return bool(all_words(text) & all_words(" ".join(self.turns[each].text for each in turns)))
        return has_enough(wanted, frozenset[str]().union(*(self._words[each] for each in turns)), share)

    def _near(self, turns: Sequence[int]) -> list[int]:
        """These turns and the turns beside them."""
        around = {place for each in turns for place in (each - 1, each, each + 1)}
        return [place for place in sorted(around) if 0 <= place < len(self.turns)]

    def _most_alike(self, wanted: frozenset[str]) -> list[int]:
        """Up to three turns that have most of these words; a rare word counts more."""
        scores: dict[int, float] = {}
        for word in wanted:
            places = self._of_word.get(word, [])
            for place in places:
                scores[place] = scores.get(place, 0.0) + 1 / (1 + math.log(len(places)))
        return sorted(scores, key=lambda place: -scores[place])[:3]
