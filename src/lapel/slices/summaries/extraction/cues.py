"""Words by which a sentence shows what it is: a task, a decision, a question. In English, German, Spanish,
French and Chinese."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

Cue: TypeAlias = Literal["task", "decision", "question", "problem", "money", "time"]

_TIME_LIMIT = (
    r"\bby (?:monday|tuesday|wednesday|thursday|friday|saturday|sunday|tomorrow|tonight|noon|next|the end|"
    r"end of|\w+ \d{1,2})|\bbis (?:montag|dienstag|mittwoch|donnerstag|freitag|samstag|sonntag|morgen|ende|"
    r"zum|nächste\w*|spätestens)|\bpara el (?:lunes|martes|miércoles|jueves|viernes|sábado|domingo|\d)|"
    r"\bantes del?\b|\b(?:d'ici|avant) (?:lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche|demain|la fin|"
    r"le \d)|(?:周|星期|礼拜)[一二三四五六日天](?:之前|前)|(?:明天|月底|年底|下周)(?:之前|前)"
)
_PATTERNS: dict[Cue, str] = {
    "task": (
        r"\b(?:i|we)(?:'ll| will| need to| have to| must| should| shall)\b(?! not be)|"
        r"\b\w+ (?:will|has to|needs to) (?:call|write|send|prepare|check|ask|talk|bring|order|book|schedule|"
        r"update|share|fix|review|email|e-mail|contact|arrange|organi[sz]e|draft|finish|find out|tell)\b|"
        r"\b(?:i'm|we're|you're) going to\b|\blet's\b|\b(?:can|could|would) you\b(?!.{0,12}\b(?:hear|"
        r"see) me)|\b(?:please|make sure|remember to|don't forget|action item|follow up|to-?do)\b|"
        r"\b(?:ich|wir) (?:werde|werden|muss|müssen|sollte|sollten)\b|\b(?:werde ich|werden wir|müssen wir|"
        r"muss ich)\b|\b(?:kannst du|können sie|könntest du|könnten sie|bitte)\b|\bich (?:kümmere|schicke|"
        r"mache|rufe|schreibe|sende)\b|\b(?:voy|vas|vamos|va) a\b|\b(?:tengo|tenemos|tienes|hay) que\b|"
        r"\b(?:debo|debemos|deberíamos)\b|\b(?:puedes|podrías|podría usted|por favor)\b|\bme encargo\b|"
        r"\b(?:je vais|nous allons|on va|vous allez)\b|\b(?:il faut|il faudra|je dois|on doit|nous devons)\b|"
        r"\b(?:peux-tu|pouvez-vous|pourriez-vous|s'il (?:te|vous) plaît)\b|\bje m'(?:en )?occupe\b|"
        r"(?:我|我们|咱们|你|他|她)(?:会|要|需要|得|必须|应该|来)|请(?!问)|记得|别忘了|" + _TIME_LIMIT
    ),
    "decision": (
        r"\b(?:we|i)(?:'ve| have)? (?:decided|agreed|chose|settled)\b|\b(?:let's go with|we'll go with|"
        r"we are going with|agreed|the decision|it's decided|decided to|we'll keep|approved|signed off)\b|"
        r"\b(?:beschlossen|entschieden|vereinbart|abgemacht|einigen uns|geeinigt|nehmen wir|bleibt es bei|"
        r"festgelegt)\b|\b(?:decidimos|hemos decidido|decidido|acordamos|hemos acordado|acordado|quedamos en|"
        r"nos quedamos con|aprobado)\b|"
        r"\b(?:on a décidé|nous avons décidé|décidé|convenu|d'accord pour|on part sur|on retient|validé|"
        r"adopté)\b|决定|定下来|就这么定|同意|敲定|商定|通过了"
    ),
    "question": (
        r"[?？]|\b(?:the question is|die frage ist|la pregunta es|la question est)\b|"
        r"问题是|吗[。！]?$"
    ),
    "problem": (
        r"\b(?:problem|issue|trouble|pain|struggl\w+|difficult\w*|slow|broken|fail\w*|worr\w+|concern\w*|"
        r"frustrat\w+|too (?:expensive|long|many|much)|doesn't work|can't|cannot)\b|"
        r"\b(?:schwierig\w*|fehler|leider|zu (?:teuer|langsam|lange|viel)|funktioniert nicht|sorge\w*|"
        r"ärger\w*)\b|\b(?:problema\w*|difícil\w*|lent[oa]s?|falla\w*|preocupa\w*|demasiad[oa]s?|"
        r"no funciona)\b|\b(?:problème\w*|difficile\w*|lent\w*|panne\w*|inquiet\w*|trop (?:cher|long|lent)|"
        r"ne (?:marche|fonctionne) pas)\b|问题|困难|麻烦|太(?:贵|慢|久|多)|坏了|不行|担心"
    ),
    "money": (
        r"\b(?:budget|price|cost|afford|spend|quote|discount)\w*\b|[$€£¥]\s?\d|\d\s?(?:[$€£¥]|dollar|euro|"
        r"pound|franc)|\b(?:preis|kosten|ausgeben|angebot|rabatt)\w*\b|\b(?:presupuesto|precio|coste|gastar|"
        r"descuento)\w*\b|\b(?:prix|coût|dépens\w+|devis|remise)\w*\b|预算|价格|费用|成本|花费|报价|[\d万千百]元"
    ),
    "time": (
        r"\b(?:deadline|timeline|quarter|next (?:week|month|year|quarter)|this (?:week|month|year|quarter)|"
        r"launch|go live)\b|\b(?:frist|quartal|nächste\w* (?:woche|monat|jahr)|start\w*termin)\b|"
        r"\b(?:plazo|trimestre|próxim[oa] (?:semana|mes|año))\b|"
        r"\b(?:délai|échéance|trimestre|(?:semaine|mois|année) prochaine?)\b|"
        r"期限|季度|下(?:周|个月)|明年|月底|" + _TIME_LIMIT
    ),
}
_COMPILED = {cue: re.compile(pattern, re.IGNORECASE) for cue, pattern in _PATTERNS.items()}
# The fields of templates that sentences with a cue fill. Other templates' lists with these names, too.
CUE_OF_FIELD: dict[str, Cue] = {
    "action_items": "task",
    "actions": "task",
    "tasks": "task",
    "todos": "task",
    "next_steps": "task",
    "decisions": "decision",
    "issues": "question",
    "questions": "question",
    "open_questions": "question",
    "pain_points": "problem",
    "problems": "problem",
    "budget": "money",
    "timeline": "time",
}
# Lists that the most representative sentences fill, and lists of the people who spoke.
REPRESENTATIVE = frozenset({"key_points", "main_points", "highlights", "key_quotes", "quotes", "points"})
PEOPLE = frozenset({"participants", "speakers", "people", "attendees"})
# Texts that the most representative sentences fill.
OVERVIEWS = frozenset({"overview", "summary", "facts", "abstract", "content", "notes"})


def has_cue(text: str, cue: Cue) -> bool:
    """Whether a sentence shows that it is such a thing."""
    return _COMPILED[cue].search(text) is not None
