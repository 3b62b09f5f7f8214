"""The numbers of a text, in digits and in words of English, German, Spanish, French and Chinese.

text2num reads the words of the first four languages. Chinese characters are read here.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import TypeAlias

from text_to_num import alpha2digit

from lapel.foundation.written_text import normalized
from lapel.slices.language_models.extractive.content_words import numbers_of

# Numbers that stand side by side, such as "nineteen ninety-eight": they may be one number.
Run: TypeAlias = tuple[str, ...]

_SPELLED = ("en", "de", "es", "fr")
_RUN = re.compile(r"(?<![_\d])\d+(?:[.,:]\d+)*(?: \d+(?:[.,:]\d+)*)*")
_SCALED = re.compile(r"(?<![\d.,:])(\d+(?:[.,]\d+)?) (100|1000|10000|1000000|100000000|1000000000)\b")
_SHORT_SCALES = (
    (re.compile(r"(?<=\d) ?(?:k|tsd\.?)(?!\w)", re.IGNORECASE), " 1000"),
    (re.compile(r"(?<=\d) ?mio\.?(?!\w)", re.IGNORECASE), " 1000000"),
)
# Words of quantities that text2num does not read, and what they may stand for.
_MORE_WORDS = {
    "2": r"both|twice|pair|couple|double|beiden?|zweimal|doppelt\w*|ambos|ambas|doble",
    "12": r"dozens?|dutzend|docenas?|douzaines?",
    "15": r"quarter|viertel|cuarto|quart",
    "30": r"half|halb|media|demie",
}
_MORE = {
    number: re.compile(rf"\b(?:{words})\b|{characters}", re.IGNORECASE)
    for (number, words), characters in zip(_MORE_WORDS.items(), ("[俩双]", "打", "刻", "半"), strict=True)
}
_CHINESE_VALUES = {character: value for value, character in enumerate("零一二三四五六七八九十")} | {
    "两": 2, "百": 100, "千": 1000, "万": 10_000, "亿": 100_000_000,
}  # fmt: skip
_CHINESE = re.compile(r"[零一二两三四五六七八九十百千万亿]{1,16}")
_CHINESE_DECIMAL = re.compile(rf"({_CHINESE.pattern})点({_CHINESE.pattern})")
_CHINESE_TENTHS = re.compile(rf"({_CHINESE.pattern})成")
_CHINESE_MONTH = re.compile(rf"(?:{_CHINESE.pattern}|\d+)月")
_PERCENT = re.compile(r"\b(?:per cent|por ciento|pour cent)\b", re.IGNORECASE)
# Words that consist of such characters, and are no numbers: perhaps, by all means, very.
_NO_NUMBERS = re.compile("万一|千万(?![元块美欧人])|十分(?!钟)")


@lru_cache(maxsize=4096)
def numbers_in(text: str, language: str | None) -> frozenset[Run]:
    """The numbers of a text, as `numbers_of` writes them; months are none. `language`: of its words; None: of
    no words.

    Takes about 0.03 ms for a sentence.
    """
    plain = " ".join(_read_chinese(normalized(text)).replace("-", " ").split())
    plain = _PERCENT.sub("%", plain)
    for scale, digits in _SHORT_SCALES:
        plain = scale.sub(digits, plain)
    if language in _SPELLED:
        plain = alpha2digit(plain, language, 0)
    return frozenset(_written(each) for each in _RUN.findall(_SCALED.sub(_multiplied, plain)))


def numbers_said(text: str) -> frozenset[str]:
    """Every number that a text may say, in words of any of the languages; also those of a run as one."""
    found: set[str] = set(numbers_of(text))
    for language in (None, *_SPELLED):
        for run in numbers_in(text, language):
            found.update((*run, "".join(run)))
    return frozenset(found | {number for number, words in _MORE.items() if words.search(text)})


def _written(run: str) -> Run:
    return tuple(number for each in run.split() for number in numbers_of(each))


def _multiplied(found: re.Match[str]) -> str:
    return f"{Decimal(found[1].replace(',', '.')) * int(found[2]):f}".removesuffix(".0")


def _read_chinese(text: str) -> str:
    """The text with digits for the numbers of Chinese characters, such as 24 for 二十四."""
    if "月" not in text and _CHINESE.search(text) is None:
        return text
    text = _CHINESE_MONTH.sub(" ", _NO_NUMBERS.sub(" ", text))
    text = _CHINESE_TENTHS.sub(lambda found: f" {_chinese(found[1]) * 10} ", text)
    text = _CHINESE_DECIMAL.sub(lambda found: f" {_chinese(found[1])}.{_chinese(found[2])} ", text)
    return _CHINESE.sub(lambda found: f" {_chinese(found[0])} ", text)


def _chinese(run: str) -> int:
    """The number of Chinese characters: digits, each before its ten, hundred or thousand, or one by one."""
    whole = section = digits = 0
    for value in map(_CHINESE_VALUES.__getitem__, run):
        if value < 10:
            digits = 10 * digits + value
        elif value < 10_000:
            section, digits = section + (digits or 1) * value, 0
        else:
            whole, section, digits = ((whole + section + digits) or 1) * value, 0, 0
    return whole + section + digits
