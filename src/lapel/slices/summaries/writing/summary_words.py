"""The words of a text that carry its content, for comparisons of summaries with transcripts.

Words are cut to a stem of five letters, which joins most forms of a word ("decide", "decided"). Scripts
without spaces are cut into pairs of characters.
"""

from __future__ import annotations

import re
from functools import lru_cache

_TOKEN = re.compile(r"\w+")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,:'\u00a0]\d+)*")
_SEPARATOR = re.compile(r"[.,:'\u00a0]")
_STEM = 5
# Function words of English, German, Spanish, French, Italian, Portuguese and Dutch.
_FUNCTION_WORDS = frozenset(
    """
    a about after all also am an and any are as at be because been before but by can could did do does for
    from get go got had has have he her him his how i if in into is it its just like me more my no not
    now of on one or our out over said say says she so some than that the their them then there these they
    this to too up us very was we well were what when which who will with would yes you your
    aber alle als am an auch auf aus bei bin bis da dann das dass dem den der des die doch du ein eine einem
    einen einer er es für hat haben hatte ich ihr im in ist ja jetzt kann kein mal man mehr mich mir mit nach
    nicht noch nur oder schon sehr sich sie sind so und uns vom von vor war was wenn wer werden wie wir wird
    zu zum zur
    al algo como con de del desde donde el ella ellos en entre era es esa ese eso esta este esto estoy fue ha
    han hay la las le les lo los más me mi muy ni nos o para pero por porque que qué se ser si sí sin sobre
    son su sus también te tiene todo tu un una uno y ya yo
    à au aux avec c ce ces cette d dans de des du elle elles en est et eu il ils j je l la le les leur lui ma
    mais me mes moi mon n ne nous on ont ou où par pas plus pour qu que qui s sa sans se ses si son sont sur
    ta te tu un une vous y été être
    che chi ci con da dei del della di e ed gli ho il io la le lo ma mi nel non per più se si sono un una
    as com da das do dos e em eu foi isso mais mas na não nas no nos o os ou para pela pelo por que se sem seu
    sua um uma
    dat de die een en er het hij ik in is je met niet of om op te van voor was we wij ze zij
    的 了 是 在 我 你 他 她 们 和 就 都 也 不 有 这 那 很 吗 吧 呢
    """.split()  # noqa: SIM905 - a long list is easier to read as text
)


@lru_cache(maxsize=50_000)
def _stem(word: str) -> str:
    return word if len(word) <= _STEM or "_" in word else word[:_STEM]


def content_words(text: str) -> list[str]:
    """The stems of the words of a text, without function words, in order and with repetitions."""
    found: list[str] = []
    for token in _TOKEN.findall(text.casefold()):
        place = 0
        for run in _UNSPACED.finditer(token):
            _add(found, token[place : run.start()])
            characters = run[0]
            found += [characters[at : at + 2] for at in range(max(len(characters) - 1, 1))]
            place = run.end()
        _add(found, token[place:])
    return found


def _add(found: list[str], word: str) -> None:
    if len(word) > 1 and word not in _FUNCTION_WORDS and not word.isdigit():
        found.append(_stem(word))


def all_words(text: str) -> set[str]:
    """All words of a text, for texts without content words, such as "yes"."""
    return set(_TOKEN.findall(text.casefold()))


def numbers(text: str) -> set[str]:
    """The numbers that a text has in digits, without the separators in them."""
    return {_SEPARATOR.sub("", each) for each in _NUMBER.findall(text)}
