"""What sort of answer a question wants (a number, a date, a name), and which texts can hold it.

English, German, Spanish, French and Chinese. A question in another language, and one such as "What happened?"
may want anything.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from lapel.slices.language_models.extractive.content_words import content_of
from lapel.slices.language_models.extractive.number_words import numbers_said

AnswerType = Literal["number", "time", "name", "any"]


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_NUMBER: Final = _any_of(
    r"\bhow (?:many|much|often|old|long|far|high|heavy|loud|big|large|tall|deep|wide)\b",
    r"\b(?:what|which)(?:'s| is| was| were| are)? (?:\w+ )?(?:[\w-]+ )?(?:price|dose|percentage|share|salary|"
    r"amount|costs?|discount|distance|height|limit|size|rate|fee|rent|budget|total|surcharge|maximum|minimum|"
    r"number|sum|level|weight|temperature|bill|period|pressure)\b",
    r"\bwhat (?:does|did|will|would|do) .* costs?\b",
    r"\bwie ?viele?[nrm]?\b|\bwas kost",
    r"\bwie (?:lange|oft|hoch|weit|alt|schwer|groß|teuer|tief|breit|laut)\b",
    r"\bwelche[rsnm]? (?:\w+ )?(?:\w*dosis|preis|\w*quote|gewicht|betrag|höhe|temperatur|anteil|rabatt|"
    r"summe)\b",
    r"\bcuánt[oa]s?\b",
    r"\bqué (?:dosis|precio|cantidad|porcentaje|edad|profundidad|distancia|altura|temperatura|peso|"
    r"descuento)\b",
    r"\bcombien\b",
    r"\bquel(?:le)?s? (?:dose|prix|distance|pourcentage|âge|part|montant|taux|somme|température|remise|"
    r"profondeur|hauteur)\b",
    r"多少|几[个天次岁台种分]|多[久长大高远重深]",
)
_TIME: Final = _any_of(
    r"^(?:by |since |until )?when\b",
    r"\b(?:what|which) (?:date|day|time|year|month|weekday|week)\b",
    r"\bwann\b|\bwelche[rsnm]? (?:tag|datum|jahr|monat|wochentag|uhrzeit)",
    r"\bcuándo\b|\bqué (?:fecha|día|año|mes|hora)\b",
    r"\bquand\b|\bquelle? (?:est la )?(?:date|jour|année|mois|heure)\b",
    r"什么时候|哪[天年月一]|几[点号月]|何时",
)
_NAME: Final = _any_of(
    r"^(?:by |for |to |with )?who(?:m|se)?\b|\bwer\b|\bwem\b|\bwen\b|\bwessen\b|\bquién(?:es)?\b",
    r"(?:^|\bà |\bavec |\bde |\bpour |\bchez )qui\b|谁|哪位|叫什么|\bname of\b|'s name\b|\bin whose\b",
    r"\bwhich (?:[\w-]+ )?(?:colleague|friend|nurse|doctor|officer|helper|shopkeeper|physiotherapist|"
    r"applicant|clergyman|person|lawyer|teacher|company|firm|customer|supplier)\b",
    r"\bwelche[rsnm]? (?:\w+ )?(?:kollegin|kollege|freund|freundin|person|firma|ärztin|arzt)\b",
    r"\bqué (?:\w+ )?(?:psicólog[oa]|médic[oa]|persona|empresa|amig[oa]|compañer[oa])\b",
    r"\bquel(?:le)?s? (?:\w+ )?(?:collègue|ami|amie|médecin|personne|entreprise|société)\b",
)
_DATES: Final = _any_of(
    r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)days?\b|\b(?:today|tomorrow|yesterday|o'clock)\b",
    r"\b(?:january|february|march|april|may|june|july|august|september|october|november|december)\b",
    r"\b(?:montag|dienstag|mittwoch|donnerstag|freitag|samstag|sonntag|heute|gestern|übermorgen|uhr)\b",
    r"\b(?:jänner|januar|februar|märz|mai|juni|juli|oktober|dezember)\b",
    r"\b(?:lunes|martes|miércoles|jueves|viernes|sábado|domingo|hoy|mañana|ayer)\b",
    r"\b(?:enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre)\b",
    r"\b(?:lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche|demain|hier)\b",
    r"\b(?:janvier|février|mars|avril|juin|juillet|août|septembre|octobre|novembre|décembre)\b",
    r"[月号点]|星期|周[一二三四五六日]|今天|明天|昨天|\b(?:19|20)\d\d\b|\d:\d\d",
)
# People whom a text names by what they are.
_PEOPLE: Final = _any_of(
    r"\b(?:mr|mrs|ms|dr|miss|father|mother|sister|brother|wife|husband|daughter|son|aunt|uncle|boss)\b",
    r"\b(?:herr|frau|mutter|vater|schwester|bruder|mann|tochter|sohn|tante|onkel|nachbarin?|chefin?)\b",
    r"\b(?:don|doña|señora?|madre|padre|hermana|hermano|mujer|marido|hija|hijo|suegra|suegro|jef[ea])\b",
    r"\b(?:madame|monsieur|mère|père|sœur|frère|femme|mari|fille|fils|oncle|voisine?|belle-mère|chef)\b",
    r"[老小][一-龥]|师傅|主任|医生|护士|先生|女士|[一-龥][姐哥总]|老板|妈|爸|女儿|儿子|妻子|老婆|丈夫",
)
# Digits that are no part of a code such as TK-40.
_DIGITS: Final = re.compile(r"(?<![\w-])\d+(?:[.,]\d+)*")
_CLOCK: Final = re.compile(r"\b\d{1,2}:\d\d\b")
_CAPITALISED: Final = re.compile(r"(?<=[^\W.?!:…\"“„»¿¡] )[^\W\d_][\w'’-]*|(?<=, )[^\W\d_][\w'’-]*")
# German writes nouns with a capital too; a noun usually follows one of these words, and a name does not.
_DETERMINERS_NAMED = """
der die das den dem des ein eine einen einem einer eines kein keine keinen mein meine meinen meiner dein deine
sein seine ihr ihre ihren unser unsere euer eure im am zum zur vom beim ins dieser diese dieses diesen jeder
jede jedes jeden
"""
_DETERMINERS: Final = frozenset(_DETERMINERS_NAMED.split())
_ONE: Final = "1"  # "one" and "ein" are seldom numbers


def wanted_type(question: str) -> AnswerType:
    """What a question wants."""
    if _NUMBER.search(question):
        return "number"
    if _TIME.search(question):
        return "time"
    return "name" if _NAME.search(question) else "any"


def can_hold(wanted: AnswerType, text: str, question: str) -> bool:
    """Whether a text has what the question wants, and the question does not have it itself."""
    if wanted == "number":
        return bool(_quantities(text) - _quantities(question))
    if wanted == "time":
        return _DATES.search(text) is not None
    if wanted == "name":
        return _PEOPLE.search(text) is not None or bool(_names(text) - content_of(question).words)
    return True


def _quantities(text: str) -> set[str]:
    digits = {re.sub("[.,]", "", each) for each in _DIGITS.findall(_CLOCK.sub(" ", text))}
    return digits | (numbers_said(re.sub(r"\d", " ", text)) - {_ONE})


def _names(text: str) -> frozenset[str]:
    """The beginnings of the words with a capital that may be names."""
    found = frozenset[str]()
    for each in _CAPITALISED.finditer(text):
        before = text[: each.start()].rsplit(maxsplit=1)[-1].casefold()
        if each[0][0].isupper() and "'" not in each[0] and before not in _DETERMINERS:
            found |= content_of(each[0]).words
    return found
