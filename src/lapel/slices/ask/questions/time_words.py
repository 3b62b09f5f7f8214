"""The words of time of five languages, without accents and in lower case, as parts of regular expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.slices.ask.questions.period import Unit


class TimeWords(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The words of one language. Each is an alternation of a regular expression.

    `days`: by how many days before today. `units`: with their endings. `numbers`: from 1 on. `this`, `last`
    and `before_last` make `week` the running one, the last one, and the one before; `after_unit` stands after
    it. `last_few`, `ago`: with a number `{n}` and a `{unit}`. `on_weekday`: before a weekday; `of_last_week`:
    before one of the last calendar week. `since`, `before`, `after`: before a time; `…_behind`: after it.
    `between`: what stands before two times, and between them. `dates`: with the groups `d`, `m`, `y`, and
    `d2` for the last day of several; `in_month`: with `m` and `y`, or `m2` and `y2`. `recordings`: what
    people call one. `past`: what says that a question is about what was said; `coming`: about what will be.
    `about`: before a time, says that it is talked about. `of`: what joins a time to the noun before it.
    """

    days: Mapping[int, str]
    weekdays: tuple[str, ...]
    months: tuple[str, ...]
    units: Mapping[Unit, str]
    numbers: tuple[str, ...]
    this: str
    last: str
    before_last: str
    after_unit: str = "(?!)"
    weekend: str
    last_few: tuple[str, ...]
    ago: tuple[str, ...]
    on_weekday: str
    of_last_week: str | None = None
    since: str = "(?!)"
    since_behind: str = "(?!)"
    before: str = "(?!)"
    before_behind: str = "(?!)"
    after: str = "(?!)"
    after_behind: str = "(?!)"
    between: tuple[str, str]
    dates: tuple[str, ...]
    in_month: str
    in_year: str
    newest: str
    oldest: str
    recordings: str
    how_many: str
    past: str
    coming: str
    about: str
    of: str
    spaced: bool = True


def _forms(words: str) -> tuple[str, ...]:
    return tuple(words.split())


ENGLISH = TimeWords(
    days={
        0: r"today|tonight|this (?:morning|afternoon|evening)|(?:so far|earlier) today",
        1: r"yesterday(?: (?:morning|afternoon|evening))?|last night",
        2: r"(?:the )?day before yesterday",
    },
    weekdays=_forms(
        "mon(?:day)? tues?(?:day)? wed(?:nesday)? thu(?:rs)?(?:day)? fri(?:day)? sat(?:urday)? sun(?:day)?"
    ),
    months=_forms(
        "jan(?:uary)? feb(?:ruary)? mar(?:ch)? apr(?:il)? may june? july? aug(?:ust)? sept?(?:ember)? "
        "oct(?:ober)? nov(?:ember)? dec(?:ember)?"
    ),
    units={"day": "days?", "week": "weeks?", "month": "months?", "year": "years?"},
    numbers=_forms("one|a|an two|couple.of three four five six seven eight nine ten eleven twelve"),
    this="this|the current",
    last="last|the past|previous|the previous|past",
    before_last=r"(?:the )?{unit} before last",
    weekend=r"(?:(?:on|at|over) )?(?:the |last |this |the last |the past )?weekend",
    last_few=(r"(?:(?:in|over|during|within|of|from) )?(?:the )?(?:last|past|previous) {n} {unit}",),
    ago=(r"{n} {unit} (?:ago|back)",),
    on_weekday="on|last|this|this past|this last|of|from|the",
    since="since|starting|as of",
    before="before|until|till|up to|prior to",
    after="after",
    between=("between|from", "and|to|until|till|through|-"),
    dates=(
        (
            r"(?:on |of |from )?(?:the )?(?P<d>\d{1,2})(?:st|nd|rd|"
            r"th)?(?: of)? (?P<m>{month})(?:,? (?P<y>\d{4}))?"
        ),
        (
            r"(?:on |of |from )?(?P<m>{month}) (?:the )?(?P<d>\d{1,2})(?:st|nd|rd|th)?(?!\d)(?: ?(?:-|"
            r"to|until) ?(?P<d2>\d{1,2})(?!\d))?(?:,? (?P<y>\d{4}))?"
        ),
    ),
    in_month=(
        r"(?:(?:in|during|of|from|for|all|over|this past|"
        r"last) )(?P<m>{month})(?: (?:of )?(?P<y>\d{4}))?|(?P<m2>{month}) (?P<y2>\d{4})"
    ),
    in_year=r"(?:in|during|of|from) (?P<y>(?:19|20)\d\d)",
    newest=r"(?:newest|latest|most recent|last)",
    oldest=r"(?:oldest|earliest|very first|first)",
    recordings=(
        "recordings?|conversations?|meetings?|calls?|talks?|visits?|sessions?|interviews?|discussions?|"
        "consultations?|chats?|appointments?|standups?|notes?|transcripts?|memos?|check-?ins?|one-on-ones?"
    ),
    how_many=r"how many|(?:the )?number of|count (?:of|the|my|our)",
    past=(
        r"did|didn't|was|were|wasn't|weren't|had|said|told|talked|spoke|spoken|discussed|agreed|"
        r"decided|promised|"
        r"happened|mentioned|recorded|have (?:i|we|you|they)|has (?:he|she|it|anyone|anybody|been)|came up|"
        r"summari[sz]e|summary|recap|list|show|find|go through"
    ),
    coming=r"tomorrow|next|will|going to|upcoming|planned|scheduled|due|should|would|coming",
    about=r"(?<!talk )(?<!talked )(?<!speak )(?<!spoke )about|regarding|concerning",
    of=r"of|from",
)
GERMAN = TimeWords(
    days={
        0: r"heute(?: (?:morgen|fruh|vormittag|nachmittag|mittag|abend))?|heutigen?",
        1: r"gestern(?: (?:morgen|fruh|vormittag|nachmittag|mittag|abend))?|gestrigen?",
        2: r"vorgestern(?: (?:morgen|fruh|vormittag|nachmittag|mittag|abend))?|vorgestrigen?",
    },
    weekdays=_forms("montag dienstag mittwoch donnerstag freitag (?:samstag|sonnabend) sonntag"),
    months=_forms(
        "(?:januar|janner) (?:februar|"
        "feber) marz april mai juni juli august september oktober november dezember"
    ),
    units={
        "day": "tag(?:e|en|es)?",
        "week": "woche[n]?",
        "month": "monat(?:e|en|s)?",
        "year": "jahr(?:e|en|es)?",
    },
    numbers=_forms("ein(?:e[mnr]?)? (?:zwei|beiden) drei vier funf sechs sieben acht neun zehn elf zwolf"),
    this="diese[mnrs]?|der laufenden|im laufenden|die laufende",
    last="(?:der |die |das |den |im |in der )?(?:letzte[mnrs]?|vergangene[mnrs]?|vorige[mnrs]?)",
    before_last=r"vorletzte[mnrs]? {unit}",
    weekend=r"(?:am |letztes |vergangenes |am letzten |am vergangenen |vom |vom letzten |dieses )wochenende",
    last_few=(r"(?:(?:in|aus|wahrend|von) )?(?:den|der|die) (?:letzten|vergangenen) {n} {unit}",),
    ago=(r"vor {n} {unit}",),
    on_weekday="am|vom|diesen|letzten|vergangenen|den|seit|am letzten|am vergangenen|vom letzten",
    since="seit|ab",
    before="bis|vor",
    after="nach",
    between=("zwischen|vom|von", "und|bis|und dem|bis zum|bis zu"),
    dates=(r"(?:am |vom |den |dem )?(?P<d>\d{1,2})\. ?(?P<m>{month})(?: (?P<y>\d{4}))?",),
    in_month=(
        r"(?:(?:im|vom|aus dem|fur(?: den)?|letzten|vergangenen|diesen|in diesem|"
        r"ganzen) )(?:monat )?(?P<m>{month})(?: (?P<y>\d{4}))?|(?P<m2>{month}) (?P<y2>\d{4})"
    ),
    in_year=r"(?:im jahre?|aus|von|in|aus dem jahr) (?P<y>(?:19|20)\d\d)",
    newest=r"(?:neueste[mnrs]?|neuste[mnrs]?|letzte[mnrs]?|jungste[mnrs]?|aktuellste[mnrs]?)",
    oldest=r"(?:alteste[mnrs]?|allererste[mnrs]?|erste[mnrs]?|fruheste[mnrs]?)",
    recordings=(
        "aufnahmen?|aufzeichnung(?:en)?|gesprach(?:e[ns]?|s)?|besprechung(?:en)?|meetings?|sitzung(?:en)?|"
        "anrufe?n?s?|telefonate?n?s?|visiten?|interviews?|unterhaltung(?:en)?|treffens?|konferenz(?:en)?|"
        "sprechstunden?|termine?n?s?|konsultation(?:en)?|diskussion(?:en)?|beratung(?:en)?|notiz(?:en)?|"
        "transkripte?n?|sprachnotiz(?:en)?|mitschnitte?n?s?|runden?|untersuchung(?:en)?"
    ),
    how_many=r"wie ?viele?|anzahl",
    past=(
        r"war|waren|hatte|hatten|wurde|wurden|ging|gab|kam|sagte|sagten|meinte|besprachen|"
        r"ge(?!plant)\w{2,}(?:t|en)|"
        r"\w{3,}iert|besprochen|vereinbart|entschieden|versprochen|beschlossen|erwahnt|erzahlt|verabredet|"
        r"verordnet|verschrieben|berichtet|erklart|\w+gesprochen|\w+gemacht|fasse?|zusammenfassung"
        r"|zeige?|liste|finde"
    ),
    coming=(
        r"nachste[mnrs]?|wird|werden|kommende[mnrs]?|soll|sollen|geplant|ubermorgen|"
        r"(?<!heute )(?<!gestern )(?<!vorgestern )morgen"
    ),
    about=r"uber|bezuglich|wegen",
    of=r"von|vom|der|des|aus|zur|zum",
)
SPANISH = TimeWords(
    days={
        0: r"hoy(?: por la (?:manana|tarde|noche))?|esta (?:manana|tarde|noche)",
        1: r"ayer(?: por la (?:manana|tarde|noche))?|anoche",
        2: r"anteayer|antes de ayer",
    },
    weekdays=_forms("lunes martes miercoles jueves viernes sabado domingo"),
    months=_forms(
        "enero febrero marzo abril mayo junio julio agosto sep?tiembre octubre noviembre diciembre"
    ),
    units={"day": "dias?", "week": "semanas?", "month": "mes(?:es)?", "year": "anos?"},
    numbers=_forms("una? dos tres cuatro cinco seis siete ocho nueve diez once doce"),
    this="est[ea]|la presente|en lo que va de(?:l| la)?",
    last="(?:el |la )?(?:ultim[oa]|pasad[oa])",
    before_last=r"(?:el |la )?{unit} antepasad[oa]",
    after_unit="pasad[oa]|anterior|ultim[oa]",
    weekend=r"(?:el |este |del )?(?:fin de semana|finde)(?: pasado)?",
    last_few=(
        r"(?:(?:en|durante|de) )?(?:los|las|estos|estas) (?:ultim[oa]s|pasad[oa]s) {n} {unit}",
        r"(?:(?:en|durante|de) )?(?:los|las|estos|estas) {n} (?:ultim[oa]s|pasad[oa]s) {unit}",
        r"(?:(?:en|durante|de) )?(?:los|las|estos|estas) {n} {unit} (?:ultim[oa]s|pasad[oa]s)",
    ),
    ago=(r"hace {n} {unit}", r"{n} {unit} atras"),
    on_weekday="el|este|del|el pasado|el ultimo|desde el",
    since="desde|a partir del?",
    before="antes del?|hasta",
    after="despues del?",
    between=("entre|del?|desde", "y|al?|hasta"),
    dates=(r"(?:el |del )?(?:dia )?(?P<d>\d{1,2}|primero) de (?P<m>{month})(?: (?:de |del )?(?P<y>\d{4}))?",),
    in_month=(
        r"(?:(?:en|de|durante|del mes de|el mes de|todo|este|"
        r"desde) )(?:mes de )?(?P<m>{month})(?: (?:de |del )?(?P<y>\d{4})| pasado)?|"
        r"(?P<m2>{month}) (?:de |del )?(?P<y2>\d{4})"
    ),
    in_year=r"(?:en|de|durante|del ano|en el ano) (?P<y>(?:19|20)\d\d)",
    newest=r"(?:mas reciente|mas nuev[oa]|ultim[oa])",
    oldest=r"(?:mas antigu[oa]|mas viej[oa]|primer[oa]?)",
    recordings=(
        "grabacion(?:es)?|conversacion(?:es)?|reunion(?:es)?|llamadas?|entrevistas?|consultas?|sesion(?:es)?|"
        "visitas?|charlas?|audios?|notas?|transcripcion(?:es)?|citas?|juntas?"
    ),
    how_many=r"cuant[oa]s|numero de|cantidad de",
    past=(
        r"\w{3,}(?:aron|ieron)|(?!vamos|estamos|damos)\w{3,}(?:amos|imos)|(?:he|has|ha|hemos|"
        r"han) \w+(?:ado|ido|cho|to)|"
        r"dij[eo]|dijeron|dijimos|hablamos|hable|hablo|hablaron|hablaste|discutimos|discutio|"
        r"acordamos|acordo|acordaron|decidimos|"
        r"decidio|decidieron|paso|pasaron|fue|fueron|hubo|quedamos|quedo|prometio|"
        r"comento|comentamos|menciono|conto|pidio|explico|propuso|tuve|tuvimos|tuvo|grabe|grabamos|"
        r"se (?:dijo|hablo|trato|decidio|acordo)|resume|resumen|resumeme|muestra|muestrame|lista|busca"
    ),
    coming=r"proxim[oa]|que viene|sera|seran|va a|van a|(?<!esta )(?<!por la )manana|debo|hay que",
    about=r"sobre|acerca de|respecto a",
    of=r"de|del",
)
FRENCH = TimeWords(
    days={
        0: r"aujourd'hui|ce (?:matin|soir)|cet apres-midi",
        1: r"hier(?: (?:matin|soir|apres-midi))?",
        2: r"avant-hier(?: (?:matin|soir))?|avant hier",
    },
    weekdays=_forms("lundi mardi mercredi jeudi vendredi samedi dimanche"),
    months=_forms("janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre"),
    units={"day": "jours?", "week": "semaines?", "month": "mois", "year": "(?:ans?|annees?)"},
    numbers=_forms("une? deux trois quatre cinq six sept huit neuf dix onze douze"),
    this="cet(?:te)?|ce|la presente",
    last="(?:le |la )?(?:dernier|derniere)",
    before_last=r"(?:l'|la |le )?avant-derniere? {unit}",
    after_unit="derniere?|passee?|precedente?|ecoulee?",
    weekend=r"(?:ce |le |du )?week-?end(?: dernier| passe)?",
    last_few=(
        r"(?:(?:dans|pendant|durant|sur|au cours) )?(?:les|ces|des) {n} (?:derniers|dernieres|passes) {unit}",
        r"(?:(?:dans|pendant|durant|sur) )?(?:les|ces|des) (?:derniers|dernieres) {n} {unit}",
        r"(?:(?:dans|pendant|durant|sur) )?(?:les|ces|des) {n} {unit} (?:passes|ecoules)",
    ),
    ago=(r"il y a {n} {unit}",),
    on_weekday="le|ce|du|de|de ce",
    since="depuis|a partir d[ue]",
    before="avant|jusqu'(?:en|au|a)",
    after="apres",
    between=("entre|du|de", "et|au|a|jusqu'au"),
    dates=(r"(?:le |du )?(?P<d>\d{1,2}|1er|premier) (?P<m>{month})(?: (?P<y>\d{4}))?",),
    in_month=(
        r"(?:(?:en|de|au mois de|du mois de|courant|pendant|durant|pour) |d')(?:mois de |"
        r"mois d')?(?P<m>{month})(?: (?P<y>\d{4})| dernier)?|(?P<m2>{month}) (?P<y2>\d{4})"
    ),
    in_year=r"(?:en|de|pendant|l'annee) (?P<y>(?:19|20)\d\d)",
    newest=r"(?:plus recente?|tout derniere?|dernier|derniere|plus nouve(?:au|lle))",
    oldest=r"(?:plus ancien(?:ne)?|plus vieu?x|plus vieille|tout premier|premier|premiere)",
    recordings=(
        "enregistrements?|conversations?|reunions?|appels?|entretiens?|consultations?|visites?|seances?|"
        "discussions?|rendez-vous|interviews?|echanges?|notes?|transcriptions?|audios?|points?"
    ),
    how_many=r"combien|nombre d[e']",
    past=(
        r"etait|etaient|avait|fut|ete|s'est|dit|parle|discute|decide|convenu|evoque|promis|demande"
        r"|explique|mentionne|"
        r"propose|annonce|passe|fait|vu|prescrit|note|enregistre|conclu|aborde|raconte|repondu|eu|donne|pris|"
        r"choisi|signe|valide|commande|resume[rz]?|montre[rz]?|liste[rz]?|trouve[rz]?"
    ),
    coming=r"demain|prochaine?s?|sera|seront|va|vont|doit|dois|prevue?s?",
    about=r"sur|concernant|a propos d[eu]",
    of=r"de|du|d'|de la|de l'",
)
CHINESE = TimeWords(
    days={
        0: "今天(?:上午|下午|早上|晚上)?|今早|今晚",
        1: "昨天(?:上午|下午|早上|晚上)?|昨晚|昨日",
        2: "前天",
    },
    weekdays=tuple(f"(?:星期|礼拜|周){each}" for each in ("一", "二", "三", "四", "五", "六", "[日天]")),
    months=tuple(
        f"(?:{each})月(?:份)?"
        for each in (
            "(?<!\\d)0?1|(?<!十)一",
            "(?<!\\d)0?2|(?<!十)二",
            *(f"(?<!\\d)0?{number}|{word}" for number, word in enumerate("三四五六七八九", 3)),
            "10|十",
            "11|十一",
            "12|十二",
        )
    ),
    units={"day": "天|日", "week": "个?(?:星期|礼拜)|周", "month": "个?月", "year": "年"},
    numbers=("一", "两|二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二"),
    this="这一?|本|今",
    last="上一?|去",
    before_last="上上{unit}",
    weekend="(?:上个?|这个?|本)?周末",
    last_few=("(?:最近|过去|近)的?(?:这)?{n}{unit}",),
    ago=("{n}{unit}(?:之前|以前|前)",),
    on_weekday="这个?|本",
    of_last_week="上个?",
    since="自从?|从",
    since_behind="以来|起|开始",
    before_behind="之前|以前",
    after_behind="之后|以后",
    between=("从|在", "到|至|和|-"),
    dates=(
        (
            r"(?:(?P<y>\d{4})年)?(?P<m>{month})(?P<d>\d{1,2}|[一二三四五六七八九十]{1,3})[日号](?:(?:到|至|"
            r"-)(?P<d2>\d{1,2}|[一二三四五六七八九十]{1,3})[日号])?"
        ),
    ),
    in_month="(?:(?P<y>\\d{4})年)?(?P<m>{month})(?!\\d|[一二三四五六七八九十]{1,3}[日号])",
    in_year="(?P<y>(?:19|20)\\d\\d)年",
    newest="最新|最近一?[次个条段场通]|最近的?(?=会议|录音|对话|谈话|通话|访谈)|上一?[次个条段场通]|最后一?[次个条段场通]",
    oldest="最早|最旧|第一[次个条段场通]|最初",
    recordings="录音|会议|对话|谈话|通话|访谈|会谈|电话|开会|就诊|聊天|采访|问诊|讨论|记录|例会|面谈|咨询",
    how_many="(?:多少|几)[个次条段场通份]?",
    past="了|过|说|讲|聊|谈|讨论|提到|提过|决定|商量|总结|概括|列出|找出|录|答应|吩咐|讲到|的会议|的录音|的对话",
    coming="明天|后天|下一?个?(?:周|次|月|星期)|将要?|打算|什么时候",
    about="关于|有关",
    of="的",
    spaced=False,
)

BY_LANGUAGE = {"en": ENGLISH, "de": GERMAN, "es": SPANISH, "fr": FRENCH, "zh": CHINESE}
