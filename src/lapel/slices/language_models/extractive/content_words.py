"""The words of a text that carry its content: for overlaps of a question and a sentence, in any language.

Words are compared by their first letters, because inflections differ in their ends. Text without spaces
(Chinese, Japanese, Thai) is compared by pairs of characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import msgspec

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
# Scripts that are written without spaces between words.
_DENSE = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_STEM = 5
# The share of content words in common from which two texts say the same.
_SAME = 0.8
# Function words and words of questions. They are in nearly every sentence, so they show no support.
_STOP_NAMED = """
a aber about after al all alle als also am an and any ao aos are as at au auch auf aus aux avec be because
been before bei being bin bis but by can ce ces cette che chi ci com combien come comme como con cosa could
cual cuando cuanto cuál cuándo cuánto da dal dalla dans das dass dat de degli dei del della dem den der des
deze di did didn't die dies dit do doch does doing don't donde done dos dove du dónde e een ein eine einem
einen einer el ela ele eles ella elle elles ellos em en er era es essa esse est esta este esto et eu foi for
from fue für get give gli ha haar had han hanno has hat hatte have hay he heb heeft her here het hij him his
hoe how i ich if ihr ik il ils im in into io is isn't ist it it's its ja je just kan kann la las le les leur
like lo los lui ma maar mais man mas may me mehr mein met mi mijn mit moi mon more most much muy my más na
naar nach nas ne nel nella nicht niet no noch nog non nos not nous now nur o oder of om on one ook op or os
ou our out over où par para pas pela pelo per perché pero più por porque pour pourquoi qu qual quale quand
quando quanto que quel quelle quelles quels quem questo qui quien quién quoi qué sa said say says se sein
sem ses seu she should si sich sie sin sind so sobre some son sono sont still su sua sur sus são también
também te tell than that the their them then there they thing this those to too tot tra uit um uma un una
und une uns up us van very você vom von voor vous waar waarom wann wanneer war waren warum was wat we wel
welke wem wen wer werd were what when where which who whom whose why wie wij will wir wird with wo worum
would y ya you your zal ze zich zij zijn zu zum zur était été über
"""
_STOP = frozenset(_STOP_NAMED.split())


class Content(msgspec.Struct, frozen=True):
    """What a text is about. `words`: the beginnings of its content words. `names`: those of them that begin
    with a capital within a sentence. `numbers`: as written, without separators."""

    words: frozenset[str]
    names: frozenset[str]
    numbers: frozenset[str]


def content_of(text: str) -> Content:
    """The content words, names and numbers of a text."""
    plain = unicodedata.normalize("NFKC", text)
    found = list(_words(plain))
    return Content(
        frozenset(stem for stem, _ in found),
        frozenset(stem for stem, is_name in found if is_name),
        frozenset(re.sub(r"[.,:]", "", each) for each in _NUMBER.findall(plain)),
    )


def say_the_same(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether one text has nearly all content words of the other, or the other of the one."""
    return bool(one and other) and len(one & other) / min(len(one), len(other)) >= _SAME


def word_count(text: str) -> int:
    """The number of words; of text without spaces, half the number of its characters, rounded up."""
    dense = sum(map(len, _DENSE.findall(text)))
    return len(_WORD.findall(_DENSE.sub(" ", text))) + (dense + 1) // 2


def _words(text: str) -> Iterator[tuple[str, bool]]:
    """The beginning of each content word, and whether the word is a name."""
    for run in _DENSE.findall(text):
        yield from ((run[at : at + 2], False) for at in range(max(len(run) - 1, 1)))
    for found in _WORD.finditer(_DENSE.sub(" ", text)):
        word = found[0]
        lower = word.casefold()
        if lower in _STOP or word.isdecimal() or len(word) < 2:
            continue
        before = text[: found.start()].rstrip()
        yield _stem(lower), word[0].isupper() and bool(before) and before[-1] not in '.?!:„“"»'


def _stem(word: str) -> str:
    """The word without accents, cut to its beginning; long words keep more of it."""
    bare = "".join(each for each in unicodedata.normalize("NFD", word) if not unicodedata.combining(each))
    bare = re.sub(r"['’]s?$", "", bare)
    return bare[: max(_STEM, len(bare) - 3)] if len(bare) > _STEM else bare.removesuffix("s") or bare
