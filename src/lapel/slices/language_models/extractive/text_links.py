"""Links, images and HTML that a model writes.

A client that renders an answer or a summary follows an image by itself, and a person follows a link. So no
such text of a model is shown unless the recording has the very same one.
"""

from __future__ import annotations

import re

_TEXTS = re.compile(
    r"""
    [a-z][a-z0-9+.-]{1,30}://[^\s<>"`]*                        # any scheme: https://example.com
    | \b(?:mailto|javascript|vbscript|data|file|blob|tel|sms):\S+
    | \bwww\.\S+
    | (?<![\w.@-])(?:[a-z0-9-]{2,63}\.)+[a-z]{2,24}\b(?:[:/?\#]\S*)?  # a host: example.com/login
    | \]\([^)]*\)?                                             # [text](place) and ![text](place)
    | \]\[[^\]]*\]?                                            # [text][name]
    | ^[ ]{0,3}\[[^\]\n]+\]:[ \t]*\S+[ \t]*(?:["'(].*)?$       # [name]: place
    | <(?=[a-z/!?])[^>]*>?                                     # <b>, <https://example.com>, <!-- -->
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
# The end of one sentence and the beginning of the next without a space between them: no host.
_JOINT = re.compile(r"[^\W\d_]*[a-z]\.[A-Z][^\W\d_]*\Z")
_AFTER = ".,;:!?)]}'\"*_~”’»"


def links_in(text: str) -> set[str]:
    """The links, images and HTML tags of a text, in lower case: also hosts without a scheme, and the parts of
    Markdown that make a link of what stands before them."""
    found: set[str] = set()
    for each in _TEXTS.finditer(text):
        if _JOINT.match(each[0]) is None:
            is_mark = each[0][0] in "]<["
            found.add((each[0] if is_mark else each[0].rstrip(_AFTER)).casefold().strip())
    return found


def has_foreign_links(text: str, said: str) -> bool:
    """Whether a text has a link, an image or HTML that is not in what was said."""
    found = links_in(text)
    return bool(found) and not found <= links_in(said)
