"""Links, images and HTML that a model writes.

A client that renders an answer or a summary follows an image by itself, and a person follows a link. So no
such text of a model is shown unless the recording has the very same one.
"""

from __future__ import annotations

import html
import re
import unicodedata

from lapel.foundation.written_text import MARKS, UNSPACED

_TEXTS = re.compile(
    r"""
    \b[a-z][a-z0-9+.-]{1,30}:[/\\]{1,2}[^\s<>"`]*                # any scheme: https://example.com
    | \b(?:https?|mailto|javascript|vbscript|data|file|blob|tel|sms|magnet):\S+
    | (?<![\w:/])//\w[^\s<>"`]*                                 # the scheme of the page: //example.com
    | [\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+                # an address of mail
    | \bwww\.\S+
    # A host: example.com/login, a_b.example.com, пример.рф.
    | (?<![^\W_])(?:[\wMARKS-]{1,63}\.){1,20}(?:(?:[^\W\d_]|[MARKS]){2,24}|xn--[a-z0-9-]{1,59})(?![^\W_])
      (?:[:/?\#]\S*)?
    | \b(?:localhost|\d{1,3}(?:\.\d{1,3}){3})[:/]\S+             # a host without a name of the DNS
    | \]\([^)]*\)?                                             # [text](place) and ![text](place)
    | \]\[[^\]]*\]?                                            # [text][name]
    # [name]: place, also in a quotation or in a list. The name may have some lines.
    | ^(?:[ \t]|>|[-*+][ \t]|\d{1,3}[.)][ \t]){0,12}
      \[(?:[^\]\n]{0,999}\n(?![ \t]*\n)){0,5}[^\]\n]{0,999}\]:[ \t]*\n?[ \t]*\S+[ \t]*(?:["'(].*)?$
    | <(?=[a-z/!?])[^>]*>?                                     # <b>, <https://example.com>, <!-- -->
    """.replace("MARKS", MARKS),
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
# The end of one sentence and the beginning of the next without a space between them: no host, unless it ends
# like many hosts.
_TWO_WORDS = re.compile(r"([^\W\d_]+)\.([^\W\d_]+)\Z")
_OF_HOSTS = frozenset(
    ("com", "net", "org", "io", "app", "dev", "info", "biz", "xyz", "top", "site", "ru", "cn", "uk")
)
_AFTER = ".,;:!?)]}'\"*_~”’»"
# A full stop of Chinese or Japanese, which browsers take for the dot of a host. Between two characters of
# these languages it ends a sentence.
_DOT = re.compile(f"(?<=[^\\W_{UNSPACED}])[。｡](?=[^\\W_{UNSPACED}])")


def links_in(text: str) -> set[str]:
    """The links, images and HTML tags of a text, in lower case: also hosts without a scheme, addresses of
    mail, and the parts of Markdown that make a link of what stands before them.

    The text is read as a browser shows it: without invisible characters, with entities of HTML and wide
    letters replaced.
    """
    found: set[str] = set()
    for each in _TEXTS.finditer(_normalize(text)):
        if not _is_joint(each[0]):
            is_mark = each[0][0] in "]<["
            found.add((each[0] if is_mark else each[0].rstrip(_AFTER)).casefold().strip())
    return found


def _is_joint(text: str) -> bool:
    words = _TWO_WORDS.match(text)
    return (
        words is not None
        and words[1][-1].islower()
        and words[2][0].isupper()
        and words[2].casefold() not in _OF_HOSTS
    )


def _normalize(text: str) -> str:
    text = html.unescape(text)  # first, as in a browser: an entity may stand for a wide or invisible letter
    if not text.isascii():
        wide = unicodedata.normalize("NFKC", text)
        text = _DOT.sub(".", "".join(each for each in wide if unicodedata.category(each) != "Cf"))
    return text


def has_foreign_links(text: str, said: str) -> bool:
    """Whether a text has a link, an image or HTML that is not in what was said."""
    found = links_in(text)
    return bool(found) and not found <= links_in(said)
