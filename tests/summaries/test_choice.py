"""The choice of sentences without a language model, and what tells sentences apart."""

from __future__ import annotations

import pytest

from lapel.slices.summaries.extraction.cues import Cue, has_cue
from lapel.slices.summaries.extraction.sentence_choice import SentenceChoice, WeighedSentences


async def test_more_sentences_than_are_weighed_do_no_harm() -> None:
    texts = [f"the pump number {n % 50} in hall {n % 7} leaks" for n in range(20_010)]
    choice = SentenceChoice(texts, WeighedSentences(texts), None)
    chosen = await choice.representative(3, range(len(texts)))
    assert len(chosen) == 3
    assert chosen == sorted(chosen)
    assert await choice.nearest("penguins", 3) == []


@pytest.mark.parametrize(
    ("text", "cue"),
    [
        ("I will send the offer by Friday.", "task"),
        ("Ich schicke das Angebot bis Freitag.", "task"),
        ("Voy a mandar la oferta.", "task"),
        ("Il faut envoyer le devis avant lundi.", "task"),
        ("我会在周五之前发送报价。", "task"),
        ("We agreed to keep the supplier.", "decision"),
        ("Wir haben beschlossen, den Lieferanten zu behalten.", "decision"),
        ("Hemos decidido mantener al proveedor.", "decision"),
        ("On a décidé de garder le fournisseur.", "decision"),
        ("我们决定保留供应商。", "decision"),
        ("Who tells the customers?", "question"),
    ],
)
def test_a_sentence_shows_what_it_is(text: str, cue: Cue) -> None:
    assert has_cue(text, cue)
    assert not has_cue("The pump in hall 3 leaks.", cue)
