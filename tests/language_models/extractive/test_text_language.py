"""The language of a text."""

from __future__ import annotations

import pytest

from lapel.evaluation.conversations import conversations
from lapel.evaluation.questions import questions
from lapel.slices.language_models.extractive.text_language import language_of, likely_language

SURE = {
    "en": "The pump in the hall leaks and we have to call the supplier.",
    "de": "Die Pumpe in der Halle ist nicht dicht und wir rufen den Lieferanten an.",
    "es": "La bomba de la nave pierde agua y hay que llamar al proveedor que está en Graz.",
    "fr": "La pompe est en panne et nous devons appeler le fournisseur dans la ville.",
    "it": "La pompa della sala non funziona e dobbiamo chiamare il fornitore che sta a Graz.",
    "pt": "A bomba da sala não funciona e temos de chamar o fornecedor que está em Graz.",
    "nl": "De pomp in de hal is niet dicht en we moeten de leverancier bellen die er is.",
    "pl": "Pompa w hali nie działa i jest problem, bo dostawca jest za granicą, co nie było w planie.",
    "tr": "Salondaki pompa çalışmıyor ve bu yüzden tedarikçi ile bir görüşme var, ne zaman bilmiyorum.",
    "zh": "我们决定下周发布新产品。",
    "ja": "来週新製品発売日決定会議は三時です。",
    "ko": "다음 주에 새 제품을 출시합니다.",
    "ar": "قررنا إطلاق المنتج الجديد الأسبوع المقبل.",
    "hi": "हम अगले हफ्ते नया उत्पाद लाएंगे।",
}


@pytest.mark.parametrize("language", SURE)
def test_languages_are_told_apart(language: str) -> None:
    assert language_of(SURE[language]) == likely_language(SURE[language]) == language


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("What did 李明 say?", "en"),
        ("Quanto costa il tetto?", "it"),
        ("Quem ganha as eleições?", "pt"),
        ("Wat kost het dak?", "nl"),
        ("Kto wygra wybory?", "pl"),
        ("Seçim ne zaman?", "tr"),
        ("会議は何時ですか", "ja"),
        ("سقف خانه چند است؟", None),
        ("Graz 500", None),
    ],
)
def test_a_question_shows_its_language(question: str, language: str | None) -> None:
    assert likely_language(question) == language


def test_what_is_too_short_or_has_no_words_is_in_no_sure_language() -> None:
    for text in ("SPEAKER_0 Graz 500", "", "the pump and the hall", "12:30"):
        assert language_of(text) is None


def test_the_shipped_conversations_and_questions_are_in_their_languages() -> None:
    assert [each.id for each in conversations() if language_of(each.text) != each.language] == []
    assert [each.id for each in questions() if likely_language(each.question) != each.language] == []
