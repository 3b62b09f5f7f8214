"""The sentence that says that the recordings do not answer a question, in the question's language."""

from __future__ import annotations

import re

SENTENCES = {
    "en": "The recordings do not contain an answer to this question.",
    "de": "Die Aufnahmen enthalten keine Antwort auf diese Frage.",
    "es": "Las grabaciones no contienen una respuesta a esta pregunta.",
    "fr": "Les enregistrements ne contiennent pas de réponse à cette question.",
    "zh": "录音中没有这个问题的答案。",
}
_HAN = re.compile("[\u3400-\u9fff]")
_KANA = re.compile("[\u3040-\u30ff]")
_WORD = re.compile(r"[^\W\d_]+")
# Frequent words of questions that the other languages of the table do not have.
_WORDS = {
    "en": """
    the what when where who why how which did does do is are was were and of to in for with about say
    said much many will would should there have has it they
    """,
    "de": """
    der die das was wann wo wer warum wieso wie welche welcher welches hat haben ist sind war waren
    wurde und von zu für mit über sagt sagte gesagt viel viele wird soll nicht ein eine einen dem den im
    am um wem wen
    """,
    "es": """
    el los las qué que cuándo cuando dónde donde quién quien cómo como cuál cuánto cuántos cuánta por
    para con del dijo es son fue está hay una uno se ha han al sobre
    """,
    "fr": """
    le les quel quelle quels quelles quand où qui pourquoi comment combien est sont était et du des pour
    avec dans que quoi dit une un au aux ont sur qu'est ce c'est d'une sera
    """,
}
_SETS = {language: frozenset(words.split()) for language, words in _WORDS.items()}


def _question_language(question: str) -> str:
    """The language of a question, as far as there is a sentence in it: en, de, es, fr or zh; else en."""
    if _HAN.search(question) and not _KANA.search(question):
        return "zh"
    words = [each.casefold() for each in _WORD.findall(question[:2000])]
    counts = {language: sum(word in known for word in words) for language, known in _SETS.items()}
    best = max(counts, key=lambda language: counts[language])
    return best if counts[best] else "en"


def refusal_for(question: str) -> str:
    """Says in the question's language that the recordings do not answer it."""
    return SENTENCES[_question_language(question)]
