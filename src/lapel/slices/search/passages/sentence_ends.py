"""The marks that end the sentences of a text: `.`, `?`, `。` or `؟`, but no dot of an abbreviation, of an
initial or of a decimal number."""

from __future__ import annotations

import re

from lapel.foundation.written_text import MARKS, SPACED_STOPS, UNSPACED_STOPS

QUESTION_MARKS = "?؟፧？"
"""The marks that end a question."""

# Marks of the first kind end a sentence only before a space, those of the second kind anywhere.
# A semicolon of Arabic is one, because what follows it stands alone.
_BEFORE_SPACE = SPACED_STOPS + "؛"
SENTENCE_MARKS = _BEFORE_SPACE + UNSPACED_STOPS
"""All marks that end a sentence."""

# Closing quotes and brackets belong to the sentence. The expressions try each run of marks once: a text may
# have a million marks. A full-width dot before a digit is a decimal point.
_RUN = f"(?<![{_BEFORE_SPACE}])[{_BEFORE_SPACE}]++[\"'”’»)\\]]*+"
_OF_ANY_PLACE = f"(?:(?!．\\d)[{UNSPACED_STOPS}])++[\"'”’」』）》〉]*+"
_MARK = re.compile(f"{_RUN}(?=\\s)|{_OF_ANY_PLACE}")
# Also before a word without a space, perhaps with other signs between them.
_CLOSE_MARK = re.compile(f"{_RUN}[*_`~]*+(?=\\s|(?:[^\\w\\s]|_){{0,8}}+\\s?([^\\W\\d_]))|{_OF_ANY_PLACE}")
# What is before a mark: two letters or digits, or a link with a path.
_TWO_BEFORE = re.compile(f"([^\\W_]|[{MARKS}])([^\\W_]|[{MARKS}])\\Z")
_LINK_BEFORE = re.compile(r"(?://|\w\.\w{1,24}/)\S*\Z")
# The last word before a dot.
_LAST_WORD = re.compile(r"(?:\w+\.)*\w+\.$")
_INITIALS = re.compile(r"(?:[^\W\d]\.)+$")
_ORDINAL = re.compile(r"\d{1,2}\.$")
# After a number with a dot, these are no beginning of a sentence: "am 3. Mai", "der 2. Stock".
_AFTER_ORDINAL = re.compile(
    r"\s*(?:Januar|Jänner|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember|"
    r"Stock|Etage|Klasse|Platz|Quartal|Tag|Woche|Monat|Jahr|Semester|Kapitel|Teil|Mal)"
)
_ABBREVIATIONS = frozenset(
    """
    mr mrs ms dr prof st jr sr vs etc approx dept est gov hon inc ltd co corp lt rev sen sgt ave blvd
    bzw ca evtl ggf usw str tel inkl exkl vgl hr fr dipl ing mio mrd bspw sog stk
    mme mlle av env
    sra srta sres ud uds vd avda dra dña dott avv ecc
    """.split()  # noqa: SIM905 - English, German, French; then Spanish, Portuguese and Italian
)
# These are words of their own, too: they are abbreviations only before a number.
_BEFORE_NUMBERS = frozenset(
    "no nos nr art abs fig vol núm pág jan feb mar apr jun jul aug sep sept oct nov dec".split()  # noqa: SIM905
)


def sentence_ends(text: str, *, without_space: bool = False) -> list[int]:
    """The places after the marks that end a sentence, in order. The end of the text is none of them unless
    a mark such as `。` is there: before its next word, a dot may be of an abbreviation.

    `without_space`: a sentence also ends where the next one follows without a space ("It burned.He left").
    """
    is_cased = any(each.isupper() for each in text)
    return [
        found.end()
        for found in (_CLOSE_MARK if without_space else _MARK).finditer(text)
        if _ends_here(text, found, is_cased=is_cased)
        and not (without_space and found[1] and not _begins_after(text, found))
    ]


def _begins_after(text: str, mark: re.Match[str]) -> bool:
    """Whether the word that follows a mark without a space begins a sentence.

    After a dot it has to be no small letter. No word such as "e.g.", "U.S.A" or "Ph.D" has two letters of one
    kind before a dot.
    """
    start = mark.start()
    if mark[0].startswith((".", "…")):
        two = _TWO_BEFORE.search(text, max(start - 2, 0), start)
        return two is not None and two[1].isupper() == two[2].isupper() and not mark[1].islower()
    return mark[0] != "?" or _LINK_BEFORE.search(text, max(start - 64, 0), start) is None


def _ends_here(text: str, mark: re.Match[str], *, is_cased: bool) -> bool:
    """Whether the mark ends a sentence. Only a dot may do something else."""
    if not mark[0].startswith((".", "…")) or mark.end() >= len(text):
        return True
    following = text[mark.end() : mark.end() + 24]
    if is_cased and following.lstrip()[:1].islower():
        return False
    if mark[0] != ".":
        return True
    word = _LAST_WORD.search(text, max(mark.start() - 24, 0), mark.end())
    if word is None:
        return True
    if _ORDINAL.fullmatch(word[0]):
        return _AFTER_ORDINAL.match(following) is None
    if _INITIALS.fullmatch(word[0]) and word[0] != "I.":
        return False
    short = word[0][:-1].lower()
    return short not in _ABBREVIATIONS and not (short in _BEFORE_NUMBERS and following.lstrip()[:1].isdigit())
