"""Which words of a window are probably not what was said: a loop of the decoder, or speech that is too fast.

Whisper falls into loops above all when it decodes speech in another language than the window's. The words of
a loop get high probabilities, and in a window with other speech its text compresses like any other. So loops
are found by their words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from lapel.slices.transcription.models.whisper.sentences import Spoken
from lapel.slices.transcription.speech.messages import Span
from lapel.slices.transcription.speech.transcript import share

# People say a word five times in a row ("no, no, no, no, no"), and a phrase three times.
_WORD_TIMES = 6
_PHRASE_TIMES = 4
_LONGEST_PHRASE = 8  # words

# Letters and digits a second. People speak 11 to 13. If speech is twice as fast, Whisper still finds nine of
# ten words. Above this rate it is wrong in one word of six or more.
_FASTEST = 25
# The confidence of doubtful words is multiplied by this.
_DOUBT = 0.5
# Doubtful words with at most so many seconds between them are one stretch.
_NEAR = 2.0


def looks_wrong(words: Sequence[Spoken], seconds: float) -> bool:
    """Whether words that were heard in so many seconds should be decoded again."""
    return _is_too_fast(words, seconds) or next(_loops(words), None) is not None


def mark(words: Sequence[Spoken], seconds: float) -> list[Spoken]:
    """The words of a window of so many seconds; those that are probably wrong are marked."""
    if _is_too_fast(words, seconds):
        return [lower_confidence(word) for word in words]
    marked = list(words)
    for first, last in _loops(words):
        marked[first:last] = [lower_confidence(word) for word in words[first:last]]
    return marked


def lower_confidence(word: Spoken) -> Spoken:
    """The word with less confidence, and marked."""
    if word.is_doubtful:
        return word
    return msgspec.structs.replace(word, confidence=share(_DOUBT * word.confidence), is_doubtful=True)


def doubtful_spans(words: Sequence[Spoken]) -> list[Span]:
    """The stretches of marked words, in seconds. The words are in the order of time."""
    spans: list[Span] = []
    for word in words:
        if not word.is_doubtful:
            continue
        if spans and word.start - spans[-1][1] <= _NEAR:
            spans[-1] = (spans[-1][0], max(spans[-1][1], word.end))
        else:
            spans.append((word.start, word.end))
    return spans


def _is_too_fast(words: Sequence[Spoken], seconds: float) -> bool:
    return sum(character.isalnum() for word in words for character in word.text) > _FASTEST * seconds


def _loops(words: Sequence[Spoken]) -> Iterator[tuple[int, int]]:
    """Where the same words come again and again without a break: the first, and the one after the last."""
    said = ["".join(filter(str.isalnum, word.text)).casefold() for word in words]
    for size in range(1, _LONGEST_PHRASE + 1):
        times = _WORD_TIMES if size == 1 else _PHRASE_TIMES
        first = 0  # of a stretch in which each word is the one `size` before it
        for at in range(size, len(said) + 1):
            if at < len(said) and said[at] and said[at] == said[at - size]:
                continue
            if at - first >= times * size:
                yield first, at
            first = at - size + 1
