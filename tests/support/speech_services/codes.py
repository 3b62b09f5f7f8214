"""Language codes that the services accept."""

from __future__ import annotations

# ISO 639-1, all of it.
_ISO_639_1_NAMED = """
aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz
ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik
io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml
mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd
se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi
vo wa wo xh yi yo za zh zu
"""
ISO_639_1 = frozenset(_ISO_639_1_NAMED.split())
# Deepgram, "Language Detection".
_DEEPGRAM_NAMED = """
bg ca cs da de de-CH el en es et fi fr hi hu id it ja ko lt lv ms nl nl-BE no pl pt ro ru sk sv th tr uk
vi zh
"""
DEEPGRAM = frozenset(_DEEPGRAM_NAMED.split())
# AssemblyAI, "Supported languages": English by regions, all others by 639-1, Javanese by a code of its own.
ASSEMBLYAI = (ISO_639_1 - {"jv", "nb"}) | {"en_us", "en_uk", "en_au", "jw"}
