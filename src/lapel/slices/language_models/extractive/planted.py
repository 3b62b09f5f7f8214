"""Recognizes sentences that speak to a language model instead of to the people in the conversation.

A model is told that a transcript is data. If it obeys such a sentence all the same, what it then writes has
this sentence as its only support. So these sentences support nothing. A conversation about such sentences
loses their evidence, too: that is the price.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_MODEL = (
    r"(?:ai|a\.i\.|language model|llm|chat ?bot|chatgpt|gpt|claude|gemini|summari[sz]er|summari[sz]ing|"
    r"summary (?:tool|bot|system)|note[- ]?taker|(?:ai|virtual) assistant|transcription (?:tool|system))"
)
_MACHINE = r"(?:assistant|software|robot|recorder|machine|computer|app|program)"
_PATTERNS = (
    # Forget what you were told.
    (
        r"\b(?:ignor|disregard|forget|overrid|bypass|discard)\w*\b.{0,60}\b"
        r"(?:instruct\w*|prompts?|rules?|guidelines?|previous|prior|above|earlier|transcript|schema|polic\w+)\b"
    ),
    (
        r"\b(?:ignorier|vergiss|vergesst|missacht|verwirf)\w*\b.{0,60}"
        r"\b(?:anweisung|regel|vorherig|bisherig|obig|vorgabe)"
    ),
    r"\b(?:ignor|olvid|descart)\w*\b.{0,60}(?:instrucc|reglas|anterior|indicaci)",
    r"\b(?:ignor|oubli)\w*\b.{0,60}(?:instruction|consigne|règles|précédent)",
    r"(?:忽略|无视|忘记|忘掉|不要理会).{0,30}(?:指令|指示|说明|规则|之前|以上|前面|提示)",
    # You are another.
    r"\b(?:system|developer|admin)\s*(?:prompt|message|override|mode|note|instruction)",
    r"\b(?:you are|you're|act as|pretend to be|behave as)\b.{0,40}\b(?:assistant|model|dan)\b",
    rf"\b(?:you are|you're|act as|pretend to be|behave as)\b.{{0,40}}\b{_MODEL}\b",
    r"\bdu bist\b.{0,40}\b(?:assistent|ki|sprachmodell|modell|bot)\w*",
    r"\beres\b.{0,40}\b(?:asistente|ia|modelo|bot)\b",
    r"\btu es\b.{0,40}\b(?:assistant|ia|modèle|robot)\b",
    r"你(?:现在)?是.{0,20}(?:助手|模型|人工智能|机器人|ai)",
    # To whoever summarizes this.
    (
        rf"\b{_MODEL}\b.{{0,40}}\b(?:please|must|you|your|write|output|print|add|include|report|respond|reply|"
        rf"mark|set)\b"
    ),
    rf"\b(?:note|message|instruction|command|order|attention|dear|hey|hello|listen)s?\b.{{0,20}}\b{_MODEL}\b",
    rf"\b(?:dear|hey|any|this) {_MACHINE}\b|\b{_MACHINE}\s*:|(?:^|[.!?:] ){_MACHINE}\s*,",
    rf"\b(?:for|to|at) the {_MACHINE}\b(?:\s*[:,]| (?:that|which|who) )",
    rf"\b(?:one more thing|note|message|sentence|word|rule|order)\b.{{0,12}}\b{_MACHINE}\b",
    r"\bdebug mode\b|\bdeveloper of this\b|\bsafety rules\b|\bdecode this\b",
    r"\b(?:künstliche intelligenz|software|maschine|aufnahmegerät|rekorder)\b.{0,30}[:,]",
    r"\b(?:message|mot|note) (?:au|pour le|à la|pour la) (?:logiciel|machine|robot|ia)\b",
    r"\b(?:para|a) (?:la máquina|el programa|el software|el robot)\b",
    r"(?:记录|录音|总结)的?(?:助手|机器|软件)",
    r"\bwhoever\b.{0,30}\b(?:summari|transcri|reads? this)",
    r"\b(?:when|if|while) you (?:are )?(?:summari|transcri|write (?:the|this|your) summary)",
    (
        r"\b(?:the|your|this|every|any) (?:summary|output|response|overview|json)\b.{0,20}"
        r"\b(?:must|should|shall|has to|have to|needs? to|will only|is to)\b"
    ),
    (
        r"\b(?:put|write|add|include|insert|append|set|record)\b.{0,80}\b(?:in|into|to|as|of) "
        r"(?:the|your|every|its|any) (?:summary|output|response|overview|json|field)"
    ),
    r"\b(?:zusammenfassung|ausgabe)\b.{0,20}\b(?:muss|soll|sollte|darf|müssen|sollen)\b",
    r"\b(?:an|für) (?:die ki|das sprachmodell|den assistenten|das zusammenfassende)",
    r"\b(?:resumen|salida)\b.{0,20}\b(?:debe|deberá|tiene que)\b",
    r"\b(?:para|a) (?:la ia|el asistente|el modelo de lenguaje)\b",
    r"\b(?:résumé|sortie)\b.{0,20}\b(?:doit|devra|devrait)\b",
    r"\b(?:pour|à) (?:l'ia|l'assistant|le modèle de langage)\b",
    r"(?:摘要|总结|输出).{0,8}(?:必须|应该|只能|务必)",
    r"(?:在|把|将).{0,40}(?:写入|写进|加入|放进|加到).{0,10}(?:摘要|总结)",
    # Answer only this.
    (
        r"\b(?:output|print|respond|reply|answer|return|repeat|write)\b.{0,20}"
        r"\b(?:only|exactly|nothing but|nothing else|verbatim|the word|the following|the phrase)\b"
    ),
    (
        r"\b(?:antworte|schreibe?|gib|wiederhole?)\b.{0,20}\b(?:nur|ausschließlich|genau|nichts als|"
        r"folgende\w*)\b"
    ),
    (
        r"\b(?:responde|escribe|imprime|repite)\b.{0,20}"
        r"\b(?:solo|sólo|solamente|únicamente|exactamente|lo siguiente)\b"
    ),
    (
        r"\b(?:réponds|répondez|écris|écrivez|affiche|répète)\b.{0,20}"
        r"\b(?:seulement|uniquement|exactement|rien que|ce qui suit)\b"
    ),
    r"(?:只|仅|只能)(?:要)?(?:回答|输出|回复|写|重复)",
    r"\b(?:reveal|print|leak|repeat)\b.{0,30}\b(?:system|instructions|prompt|secret|api key|password)",
    r"\b(?:new|updated|actual|additional) instructions?\b",
    # What looks like the form of a prompt.
    r"</?\s*(?:system|transcript|assistant|user|instructions?|notes|data|prompt)\b",
    r"\[/?inst\]|<\|[a-z_]+\|>|^\s*(?:system|assistant|developer|user)\s*:|```",
    r"\{\s*\"(?:role|overview|value|instructions?)\"",
    r"\bjailbreak|\bprompt injection\b|\bdo anything now\b",
)
_PLANTED = re.compile("|".join(f"(?:{each})" for each in _PATTERNS), re.IGNORECASE | re.DOTALL)
# The patterns look at most 80 characters ahead, and a sentence is short, so a match takes no long time.
_MOST_CHARACTERS = 2_000
# A planted sentence, and what the same speaker says next: so many sentences count as planted.
_MOST_AFTER = 4
# Words of questions about such sentences.
_CONCERNED = re.compile(
    r"\b(?:ai|artificial intelligence|language model|llm|assistant|chat ?bot|chatgpt|summari[sz]er|prompts?|"
    r"instructions?|instructed|ki|künstliche intelligenz|sprachmodell|assistent\w*|anweisung\w*|"
    r"asistente|inteligencia artificial|instruccion\w*|modelo de lenguaje|"
    r"ia|intelligence artificielle|consignes?|modèle de langage)\b|助手|人工智能|语言模型|机器人|指令|提示词",
    re.IGNORECASE,
)


def is_planted(text: str) -> bool:
    """Whether a sentence, or the label of a speaker, speaks to a language model."""
    return _PLANTED.search(unicodedata.normalize("NFKC", text[:_MOST_CHARACTERS])) is not None


def planted_among(said: Iterable[tuple[str | None, str]]) -> list[bool]:
    """Of consecutive sentences, as pairs of speaker and text, which are planted: they speak to a language
    model, or the same speaker says them right after such a sentence. Takes about 0.1 ms for each sentence."""
    flags: list[bool] = []
    before: str | None = None
    left = 0  # sentences that may still belong to a planted one
    for speaker, text in said:
        left = _MOST_AFTER if is_planted(text) else max(left - 1, 0) if flags and speaker == before else 0
        flags.append(left > 0)
        before = speaker
    return flags


def concerns_planted(question: str) -> bool:
    """Whether a question may be about sentences that speak to a language model."""
    return is_planted(question) or _CONCERNED.search(question[:_MOST_CHARACTERS]) is not None
