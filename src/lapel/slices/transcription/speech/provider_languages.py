"""Maps providers' names of languages to the usual codes (ISO 639-1 if the language has one)."""

from __future__ import annotations

import re
from typing import Final

# Each entry: code, three-letter codes (ISO 639-3, and ISO 639-2/B if it differs), names in OpenAI's Whisper.
_TABLE: Final = """
af afr afrikaans|am amh amharic|ar ara,arb arabic|as asm assamese|az aze,azj azerbaijani|ba bak bashkir
be bel belarusian|bg bul bulgarian|bn ben bengali|bo bod,tib tibetan|br bre breton|bs bos bosnian
ca cat catalan,valencian|cs ces,cze czech|cy cym,wel welsh|da dan danish|de deu,ger german|el ell,gre greek
en eng english|es spa spanish,castilian|et est,ekk estonian|eu eus,baq basque|fa fas,per,pes persian
fi fin finnish|fil fil filipino|fo fao faroese|fr fra,fre french|ga gle irish|gl glg galician
gu guj gujarati|ha hau hausa|haw haw hawaiian|he heb hebrew|hi hin hindi|hr hrv croatian
ht hat haitian_creole,haitian|hu hun hungarian|hy hye,arm armenian|id ind indonesian|is isl,ice icelandic
it ita italian|ja jpn japanese|jv jav javanese|ka kat,geo georgian|kk kaz kazakh|km khm khmer|kn kan kannada
ko kor korean|la lat latin|lb ltz luxembourgish,letzeburgesch|ln lin lingala|lo lao lao|lt lit lithuanian
lv lav,lvs latvian|mg mlg,plt malagasy|mi mri,mao maori|mk mkd,mac macedonian|ml mal malayalam
mn mon,khk mongolian|mr mar marathi|ms msa,may,zsm malay|mt mlt maltese|my mya,bur myanmar,burmese
ne nep,npi nepali|nl nld,dut dutch,flemish|nn nno nynorsk|no nor,nob norwegian|oc oci occitan
pa pan punjabi,panjabi|pl pol polish|ps pus,pbt pashto,pushto|pt por portuguese
ro ron,rum romanian,moldavian,moldovan|ru rus russian|sa san sanskrit|sd snd sindhi|si sin sinhala,sinhalese
sk slk,slo slovak|sl slv slovenian|sn sna shona|so som somali|sq sqi,alb,als albanian|sr srp serbian
su sun sundanese|sv swe swedish|sw swa,swh swahili|ta tam tamil|te tel telugu|tg tgk tajik|th tha thai
tk tuk turkmen|tl tgl tagalog|tr tur turkish|tt tat tatar|uk ukr ukrainian|ur urd urdu|uz uzb,uzn uzbek
vi vie vietnamese|yi yid,ydd yiddish|yo yor yoruba|yue yue cantonese|zh zho,chi,cmn chinese,mandarin
"""
# Codes for no language, several languages, or an unknown one.
_NONE = frozenset({"", "und", "mul", "zxx", "mis"})
_CODE = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]{2,8})*")


def _read() -> dict[str, str]:
    codes: dict[str, str] = {}
    for entry in _TABLE.replace("\n", "|").strip("|").split("|"):
        code, longer, names = entry.split()
        for each in (code, *longer.split(","), *names.replace("_", " ").split(",")):
            codes[each] = code
    return codes


# The case of a subtag by its length: 2 is a region (`CH`), 4 is a script (`Hans`).
_SUBTAG: Final = {2: str.upper, 4: str.title}
_CODES: Final = _read() | {"jw": "jv", "iw": "he", "tgl": "tl", "nb": "no"}


def primary(code: str) -> str:
    """The language's code without the region, in lower case: `en` for `en`, `en-US`, `en_us` and `eng`."""
    short = re.split("[-_]", code, maxsplit=1)[0].lower()
    return _CODES.get(short, short)


def tag(code: str) -> str:
    """The BCP 47 tag, with the shortest code of the language: `de-CH` for `deu-ch` and `de_CH`."""
    parts = re.split("[-_]", code)[1:]
    return "-".join([primary(code), *(_SUBTAG.get(len(each), str)(each) for each in parts)])


def spoken(told: str | None, asked: str | None) -> str | None:
    """The code of the language that a provider reports in its own way (`en`, `en_us`, `eng`, `english`).

    Returns `asked`, the requested code, if the reported language is the same or is unknown.
    """
    text = (told or "").strip().lower()
    if text in _NONE:
        return asked
    if text in _CODES:
        code = _CODES[text]
    elif _CODE.fullmatch(text):
        code = primary(text)
    else:
        return asked
    return asked if asked is not None and primary(asked) == code else code
