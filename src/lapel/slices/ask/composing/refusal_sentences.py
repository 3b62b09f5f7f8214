"""The sentence that says that the recordings do not answer a question, in the question's language."""

from __future__ import annotations

from lapel.slices.language_models.extractive.text_language import likely_language

SENTENCES = {
    "en": "The recordings do not contain an answer to this question.",
    "de": "Die Aufnahmen enthalten keine Antwort auf diese Frage.",
    "es": "Las grabaciones no contienen una respuesta a esta pregunta.",
    "fr": "Les enregistrements ne contiennent pas de réponse à cette question.",
    "it": "Le registrazioni non contengono una risposta a questa domanda.",
    "pt": "As gravações não contêm uma resposta a esta pergunta.",
    "nl": "De opnames bevatten geen antwoord op deze vraag.",
    "pl": "Nagrania nie zawierają odpowiedzi na to pytanie.",
    "tr": "Kayıtlar bu sorunun yanıtını içermiyor.",
    "zh": "录音中没有这个问题的答案。",
    "ja": "録音には、この質問への答えは含まれていません。",
    "ko": "녹음에는 이 질문에 대한 답이 없습니다.",
    "ar": "لا تحتوي التسجيلات على إجابة عن هذا السؤال.",
    "hi": "रिकॉर्डिंग में इस प्रश्न का उत्तर नहीं है।",
}
"""By primary language tag. A question in another language is answered in English."""

_LONGEST_QUESTION = 2_000


def refusal_for(question: str) -> str:
    """Says in the question's language that the recordings do not answer it."""
    return SENTENCES.get(likely_language(question[:_LONGEST_QUESTION]) or "en", SENTENCES["en"])
