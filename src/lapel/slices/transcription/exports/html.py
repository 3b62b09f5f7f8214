"""A self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING, Final

from lapel.slices.transcription.exports.content import NOTHING_SAID, joined, or_else
from lapel.slices.transcription.speech.transcript import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lapel.slices.transcription.exports.content import Document

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1b1a; --paper: #fdfcfa; --quiet: #5f5b56; --line: #d9d5cf; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eae7e2; --paper: #181716; --quiet: #a9a49d; --line: #3d3a37; }
}
body { margin: 0 auto; max-width: 42rem; padding: 1.5rem 1rem 4rem; overflow-wrap: anywhere;
  background: var(--paper); color: var(--ink); font: 1.0625rem/1.6 system-ui, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem;
  margin: 0 0 2rem; padding: 0 0 1rem; border-bottom: 1px solid var(--line); font-size: .9375rem; }
dt, time { color: var(--quiet); }
dd { margin: 0; }
.turn { margin: 0 0 1.25rem; }
.turn p { margin: 0; }
time { font-size: .875rem; font-variant-numeric: tabular-nums; }
b + time { margin-inline-start: .5rem; }
@media print {
  :root { color-scheme: light; --ink: #000; --paper: #fff; --quiet: #444; --line: #999; }
  body { max-width: none; padding: 0; font-size: 11pt; }
  .turn p:first-child { break-after: avoid; }
  p { orphans: 2; widows: 2; }
}
"""

_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# The page may use only its own style. The policy is in the page; the server also sends it as a header.
CONTENT_SECURITY_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'"
)


def html(document: Document) -> Iterator[bytes]:
    """One HTML file for phones, desktops, dark mode and print. It has no script and no link, and the browser
    fetches nothing else."""
    title = escape(document.title)
    language = escape(document.language or "en")
    facts = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>\n" for name, value in document.facts())
    turns = (_turn(*each) for each in document.paragraphs())
    yield f"""\
<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{CONTENT_SECURITY_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1 dir="auto">{title}</h1>
{f'<dl lang="en">{facts}</dl>' if facts else ""}
</header>
<main>
""".encode()
    yield from joined("\n", or_else(turns, f'<p lang="en">{NOTHING_SAID}</p>'))
    yield b"\n</main>\n</body>\n</html>\n"


def _turn(start: float, speaker: str | None, text: str) -> str:
    who = f'<b dir="auto">{escape(speaker)}</b> ' if speaker else ""
    time = f'<time datetime="PT{int(start)}S">{clock(start)}</time>'
    return f'<div class="turn">\n<p>{who}{time}</p>\n<p dir="auto">{escape(text)}</p>\n</div>'
