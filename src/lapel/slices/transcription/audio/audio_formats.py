"""The formats that are decoded, and the names of containers and content types.

Sources of the first bytes: RFC 3533 (Ogg), RFC 9639 (FLAC), RFC 8794 (EBML, for Matroska and WebM),
RFC 4867 (AMR), EBU Tech 3306 (RF64), ISO/IEC 14496-12 (MP4). Sources of the content types: RFC 5334
(`audio/ogg`), RFC 3003 (`audio/mpeg`), RFC 4337 (`audio/mp4`), RFC 9639 (`audio/flac`), RFC 9559
(`audio/matroska`), RFC 3839 (`audio/3gpp`), RFC 4393 (`audio/3gpp2`), RFC 2046 (`audio/basic`).
"""

from __future__ import annotations

# FFmpeg knows about three hundred formats. Devices, phones, browsers and editors record in these twelve. None
# of the twelve is a playlist that names other files (hls, dash, concat), or generates audio (lavfi).
DEMUXERS = "aac,aiff,amr,au,caf,flac,matroska,mov,mp3,ogg,w64,wav"

# The decoders for those formats. Left out are video, and synthesisers such as wavesynth, which make hours of
# sound from a few bytes.
DECODERS = frozenset(
    (
        "aac",
        "aac_latm",
        "ac3",
        "adpcm_ima_qt",
        "adpcm_ima_wav",
        "adpcm_ms",
        "adpcm_yamaha",
        "alac",
        "amrnb",
        "amrwb",
        "eac3",
        "flac",
        "g722",
        "g726",
        "g726le",
        "gsm",
        "gsm_ms",
        "libopencore_amrnb",
        "libopencore_amrwb",
        "libopus",
        "mp1",
        "mp1float",
        "mp2",
        "mp2float",
        "mp3",
        "mp3float",
        "opus",
        "pcm_alaw",
        "pcm_f32be",
        "pcm_f32le",
        "pcm_f64be",
        "pcm_f64le",
        "pcm_mulaw",
        "pcm_s16be",
        "pcm_s16le",
        "pcm_s24be",
        "pcm_s24le",
        "pcm_s32be",
        "pcm_s32le",
        "pcm_s8",
        "pcm_u8",
        "speex",
        "vorbis",
        "wavpack",
    )
)

# (offset, bytes) at the start of files that are, or were meant to be, of a format above.
_BEGINNINGS = (
    (0, b"OggS"),
    (0, b"RIFF"),
    (0, b"RF64"),
    (0, b"riff"),
    (0, b"fLaC"),
    (0, b"ID3"),
    (0, b"\x1a\x45\xdf\xa3"),
    (0, b"#!AMR"),
    (0, b"FORM"),
    (0, b"caff"),
    (0, b".snd"),
    (4, b"ftyp"),
    (4, b"moov"),
)

# Maps FFmpeg's name of a format to a short name and the content types that fit, the most general first.
_NAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "aac": ("aac", ("audio/aac",)),
    "aiff": ("aiff", ("audio/aiff",)),
    "amr": ("amr", ("audio/amr",)),
    "au": ("au", ("audio/basic",)),
    "caf": ("caf", ("audio/x-caf",)),
    "flac": ("flac", ("audio/flac",)),
    "matroska,webm": ("matroska", ("audio/matroska",)),
    "mov,mp4,m4a,3gp,3g2,mj2": ("mp4", ("audio/mp4", "audio/x-m4a")),
    "mp3": ("mp3", ("audio/mpeg",)),
    "ogg": ("ogg", ("audio/ogg",)),
    "w64": ("w64", ("audio/x-w64",)),
    "wav": ("wav", ("audio/wav",)),
}

# The same for formats related to MP4, by the first three characters of the major brand.
_BRANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "qt ": ("mov", ("audio/quicktime",)),
    "3gp": ("3gp", ("audio/3gpp",)),
    "3g2": ("3g2", ("audio/3gpp2",)),
}


def begins_like_audio(head: bytes) -> bool:
    """Whether the first bytes of an unreadable file show that it was meant to be audio."""
    # MPEG audio and ADTS begin with a sync word: eleven or twelve bits that are 1.
    synchronous = len(head) > 1 and head[0] == 0xFF and head[1] >= 0xE0
    return synchronous or any(head.startswith(mark, at) for at, mark in _BEGINNINGS)


def names(demuxer: str, codec: str, head: bytes, brand: str) -> tuple[str, tuple[str, ...]]:
    """Short name of the container and the content types that fit, the most general first.

    `demuxer`, `codec`: FFmpeg's names. `head`: first bytes of the file. `brand`: the major brand of an MP4.
    """
    plain = demuxer.partition(",")[0]
    name, types = _NAMES.get(demuxer, (plain, (f"audio/{plain}",)))
    if name == "matroska" and b"webm" in head:
        return "webm", ("audio/webm",)
    if name == "mp4" and brand[:3] in _BRANDS:
        return _BRANDS[brand[:3]]
    if name == "ogg" and codec == "opus":
        return name, (*types, "audio/opus")
    return name, types


def true_type(declared: str, types: tuple[str, ...]) -> str:
    """The declared content type if it is one of `types`, else the first of `types`."""
    plain = declared.partition(";")[0].strip().lower()
    return plain if plain in types else types[0]
