"""Numbers that were said in words, in English, German, Spanish, French and Chinese.

`spoken_numbers` are those that a text surely says. `may_have_been_said` finds more: the words give values,
and numbers that can be made of these values may have been said. "Fifteen hundred" has 15 and 100, so it may
be 1500 or 115.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import permutations

_WORDS = {
    0: "zero null cero zéro 零",
    1: "one eins ein eine einen einem einer uno una un une 一",
    2: "two zwei dos deux twice 二 两",
    3: "three drei tres trois 三",
    4: "four vier cuatro quatre 四",
    5: "five fünf cinco cinq 五",
    6: "six sechs seis 六",
    7: "seven sieben siete sept 七",
    8: "eight acht ocho huit 八",
    9: "nine neun nueve neuf 九",
    10: "ten zehn diez dix 十",
    11: "eleven elf once onze",
    12: "twelve zwölf doce douze dozen",
    13: "thirteen dreizehn trece treize",
    14: "fourteen vierzehn catorce quatorze",
    15: "fifteen fünfzehn quince quinze",
    16: "sixteen sechzehn dieciséis seize",
    17: "seventeen siebzehn diecisiete",
    18: "eighteen achtzehn dieciocho",
    19: "nineteen neunzehn diecinueve",
    20: "twenty zwanzig veinte vingt vingts",
    30: "thirty dreißig treinta trente",
    40: "forty fourty vierzig cuarenta quarante",
    50: "fifty fünfzig cincuenta cinquante",
    60: "sixty sechzig sesenta soixante",
    70: "seventy siebzig setenta septante",
    80: "eighty achtzig ochenta octante",
    90: "ninety neunzig noventa nonante",
    100: "hundred hundert cien ciento cientos cent cents 百",
    500: "quinientos quinientas",
    1000: "thousand tausend mil mille 千",
    10_000: "万",
    1_000_000: "million millionen millón millones millions",
}
_ORDINALS = {
    1: "first erste ersten erster primero primer primera premier première",
    2: "second zweite zweiten segundo segunda deuxième",
    3: "third dritte dritten tercero tercer tercera troisième",
    4: "fourth vierte vierten cuarto cuarta quatrième",
    5: "fifth fünfte fünften quinto quinta cinquième",
    6: "sixth sechste sechsten sexto sixième",
    7: "seventh siebte siebten séptimo septième",
    8: "eighth achte achten octavo huitième",
    9: "ninth neunte neunten noveno neuvième",
    10: "tenth zehnte zehnten décimo dixième",
    11: "eleventh elfte elften onzième",
    12: "twelfth zwölfte zwölften douzième",
    13: "thirteenth dreizehnte dreizehnten",
    14: "fourteenth vierzehnte vierzehnten",
    15: "fifteenth fünfzehnte fünfzehnten",
    16: "sixteenth sechzehnte sechzehnten",
    17: "seventeenth siebzehnte siebzehnten",
    18: "eighteenth achtzehnte achtzehnten",
    19: "nineteenth neunzehnte neunzehnten",
    20: "twentieth zwanzigste zwanzigsten vingtième",
    30: "thirtieth dreißigste dreißigsten",
}
_VALUES = {
    word.casefold(): value
    for table in (_WORDS, _ORDINALS)
    for value, words in table.items()
    for word in words.split()
}
_TOKEN = re.compile(r"[^\W\d_]+")
# German writes a number as one word: fünfundzwanzig, zweitausend.
_GERMAN = re.compile(
    "|".join(sorted((word for word in _VALUES if len(word) > 3 and word.isalpha()), key=len, reverse=True))
    + "|ein"
)
_CHINESE = re.compile("[零一二两三四五六七八九十百千万]+")
_MOST_VALUES = 9
_OF_A_NUMBER = 4


def spoken_numbers(text: str) -> frozenset[int]:
    """The numbers that single words of a text say, and those of Chinese characters, such as 十二."""
    text = text.casefold()
    found = {_VALUES[token] for token in _TOKEN.findall(text) if token in _VALUES}
    return frozenset(found | {_chinese_number(run) for run in _CHINESE.findall(text)})


def _chinese_number(run: str) -> int:
    """The number of Chinese characters: digits, each before its ten, hundred or thousand, or one by one."""
    whole = section = digits = 0
    for value in map(_VALUES.__getitem__, run):
        if value < 10:
            digits = 10 * digits + value
        elif value < 10_000:
            section, digits = section + (digits or 1) * value, 0
        else:
            whole, section, digits = ((whole + section + digits) or 1) * value, 0, 0
    return whole + section + digits


def said_values(text: str) -> frozenset[int]:
    """The values of the number words in a text."""
    found: set[int] = set()
    for token in _TOKEN.findall(text.casefold()):
        if token in _VALUES:
            found.add(_VALUES[token])
        elif not token.isascii() or len(token) > 7:
            found.update(_VALUES[each] for each in _GERMAN.findall(token) if _is_number(token))
            found.update(_VALUES[each] for each in token if each in _VALUES)
    return frozenset(found)


def _is_number(token: str) -> bool:
    return re.fullmatch(f"(?:{_GERMAN.pattern}|und)+", token) is not None


@lru_cache(maxsize=256)
def _numbers_of(values: frozenset[int]) -> frozenset[int]:
    """The numbers that can be made of up to four of these values, by sums and products."""
    chosen = sorted(values)[:_MOST_VALUES]
    made = set(chosen)
    for number in range(2, _OF_A_NUMBER + 1):
        for parts in permutations(chosen, number):
            results = {parts[0]}
            for part in parts[1:]:
                results = {each + part for each in results} | {each * part for each in results}
            made |= results
            if number == _OF_A_NUMBER:  # three hundred and two tens
                made.add(parts[0] * parts[1] + parts[2] * parts[3])
    return frozenset(made)


def may_have_been_said(number: str, values: frozenset[int]) -> bool:
    """Whether a number in digits can be made of values that were said in words."""
    return number.isdigit() and len(number) <= 9 and int(number) in _numbers_of(values)
