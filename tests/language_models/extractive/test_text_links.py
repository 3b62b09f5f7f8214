"""Links are recognized as browsers and renderers of Markdown make them; ordinary speech has none."""

from __future__ import annotations

import pytest

from lapel.evaluation.conversations import conversations
from lapel.slices.language_models.extractive.text_links import has_foreign_links, links_in


@pytest.mark.parametrize(
    "text",
    [
        "details at t.co/launch", "see x.com/login", "at a_b.evil.com/login", "_evil.com/login_",
        "evil.Com", "(пример.рф/login)", "at münchen.de/login", "xn--mnchen-3ya.de",
        "write to billing@evil.com", "localhost/admin", "localhost:8080/x", "1.2.3.4/x", "//1.2.3.4/x",
        "//evil/x", "http:evil", "http:/1.2.3.4/x", r"https:\\evil.com\x", "https&colon;//evil",
        "&#x68;ttp://evil.com", "magnet:?xt=1", "data:text/html,x", "ｅｖｉｌ.com/x", "evil．com/x",
        "evil。com/login", "see еvil。рф", "пример。рф/login", "at evil.भारत/x",
        "एक.भारत", "evil\u200b.com", "ev\u00adil.com", "-- @evil.com/login", "> [Friday]: //evil/x",
        "- [Friday]: //evil/login", "> - [a]: /x", "[a]:\n//evil/x", "[a]: /x 'title'", "[text](place)",
        "![text](place)", "[text][name]", "<b>", "<https://example.com>", "www.evil.com",
        "at evil&#xFF0E;com/login", "at evil&#8203;.&ZeroWidthSpace;com", "[a\nb]: /x",
    ],
)  # fmt: skip
def test_a_link_is_seen(text: str) -> None:
    assert links_in(text)
    assert has_foreign_links(f"We meet on Friday.\n{text}", "We meet on Friday.")
    assert not has_foreign_links(text, f"She said:\n{text}")


@pytest.mark.parametrize(
    "text",
    [
        "I paid 3.5 million at 5.30pm on 12.05.2026.", "He came.She left.",
        "Das ist gut.Ärger gab es nicht.", "z.B. am Freitag, d.h. morgen", "e.g. and i.e. this",
        "Dr.Smith said so", "24/7 and/or", "U.S.A. and p.m.", "Note: call him", "It costs 4.200,50 EUR.",
        "SPEAKER_0: hello", "今天。明天", "at 10:30/11:00", "[sic]", "wait...what", "1) one 2) two",
        "version 2.1 // a comment", "了。OK。好",
    ],
)  # fmt: skip
def test_ordinary_text_has_none(text: str) -> None:
    assert links_in(text) == set()


def test_conversations_have_none() -> None:
    texts = [segment.text for each in conversations() for segment in each.segments]
    assert len(texts) > 500
    assert [text for text in texts if links_in(text)] == []
