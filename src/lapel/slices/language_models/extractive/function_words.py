"""Function words, and words of questions: they are in most sentences, whatever these are about.

The parts of contractions are among them, such as "ve" and "dell". A word that is often a name or a noun in
another of the languages is left out, such as "kim" and "sera".
"""

from __future__ import annotations

_WORDS = {
    "en": """
    a about after all also an and any are aren as at be because been before being but by can could couldn
    did didn do does doesn doing don done for from get give go got had has have he her here him his how i if
    in into is isn it its just like ll m many may me more most much my no not now of on one or our out re s
    said say says she should so some still t tell than that the their them then there these they thing this
    those to too up us ve very was wasn we well were what when where which who whom whose why will with
    would wouldn yes you your
    """,
    "de": """
    aber alle als also am auch auf aus bei bin bis da dann das dass dem den der die dies doch ein eine einem
    einen einer er es für gesagt haben hat hatte ich ihr im ist ja jetzt kann kein keine mal man mehr mein
    mich mir mit nach nicht noch nun nur oder sagt sagte schon sehr sein sich sie sind soll um und uns viel
    viele vom von vor wann war waren warum was welche welchem welchen welcher welches wem wen wenn wer
    werden wie wieso wir wird wo wohin worum wurde zu zum zur über
    """,
    "es": """
    a al algo como con cual cuando cuanto cuál cuándo cuánta cuánto cuántos cómo de del desde dijo donde
    dónde el ella ellos en entre era es esa ese eso esta esto estoy está fue ha han hay la las lo los mal me
    mi muy más no nos o para pero por porque que quien quién qué se ser si sin sobre son su sus sí también
    te tiene tu un una uno y ya yo
    """,
    "fr": """
    a au aux avec c ce ces cette combien comme comment d dans de des dit du elle elles en est et il ils je l
    la le les leur lui mais moi mon n ni non nos nous on ont où par pas plus pour pourquoi qu quand que quel
    quelle quelles quels qui quoi s sa sans ses sont sur ta tout tu un une vous y était été être
    """,
    "it": """
    a ai al anche che chi ci come con cosa da dal dall dalla degli dei del dell della detto di dove e era
    gli ha hai hanno ho i il io la le lo lui ma mi nel nell nella non o per perché più quale quali quando
    quanta quanti quanto quell questo si sono sua sull ti tra un una è
    """,
    "pt": """
    a ao aos as com como da das de disse do dos e ela ele eles em essa esse este está eu foi há isso já mais
    mas me muito na nas no nos não o onde os ou para pela pelo por porque quais qual quando quanta quanto
    quantos que quem se sem ser seu sua são também te tem um uma você é
    """,
    "nl": """
    aan alle als bij dan dat de deze die dit doch een en er geen gezegd haar had heb hebben heeft hem het
    hier hij hoe hoeveel hun ik is ja je kan maar met mijn naar niet nog nu om ons ook op over te tot uit
    van veel voor waar waarom wanneer waren was wat we wel welke werd wie wij worden wordt zal ze zei zich
    zij zijn zo zou
    """,
    "pl": """
    był była było co czy dlaczego gdzie ile jak jest kiedy kto która który na nie o od po się są w z za że
    """,
    "tr": """
    bir bu daha değil hangi ile için kaç mi mu mü mı nasıl ne neden nerede olarak var ve yok zaman çok
    """,
}
FUNCTION_WORDS = {language: frozenset(words.split()) for language, words in _WORDS.items()}
"""By primary language tag."""
