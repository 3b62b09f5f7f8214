"""The languages that Whisper knows. No model library is imported here, so that a look-up is cheap.

spoken_languages.py detects the languages of an audio.
"""

from __future__ import annotations

# A test compares this list with faster_whisper.tokenizer. Models before large-v3 do not know `yue`.
_CODES = """
af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu
hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt
ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue zh
"""
LANGUAGES: frozenset[str] = frozenset(_CODES.split())
# Nobody grows up with these. Unclear speech in another language is taken for them, so detection answers them
# only if they are asked for.
_NOT_SPOKEN = frozenset({"la", "sa"})
SPOKEN_TODAY = LANGUAGES - _NOT_SPOKEN

# Older, newer or longer codes of the same languages.
_ALSO = {"cmn": "zh", "fil": "tl", "in": "id", "iw": "he", "jv": "jw", "ji": "yi", "nb": "no"}


def primary(language: str) -> str:
    """Whisper's code for a language tag: `en` for `en-US` and `EN`, `no` for `nb`.

    If Whisper does not know the language, the code is not in LANGUAGES.
    """
    code = language.strip().replace("_", "-").split("-", 1)[0].lower()
    return _ALSO.get(code, code)
