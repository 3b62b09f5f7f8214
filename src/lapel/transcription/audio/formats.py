"""Which files are decoded at all, and what they are called."""

from __future__ import annotations

# FFmpeg knows some three hundred formats. These are what devices, phones, browsers and editors record;
# above all none of them is a playlist that names other files (hls, dash, concat), or made of nothing (lavfi).
DEMUXERS = "aac,aiff,amr,au,caf,flac,matroska,mov,mp3,ogg,w64,wav"

# The decoders of what those hold. Not among them: video, and synthesisers such as wavesynth, where a few
# bytes are hours of sound.
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

# The first bytes, from an offset, of files that are or were meant to be of a format above.
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

# Of a FFmpeg format: its short name, and the content types that are true of it, the plainest first.
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

# The same of the formats that are like MP4, by the beginning of their brand.
_BRANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "qt ": ("mov", ("audio/quicktime",)),
    "3gp": ("3gp", ("audio/3gpp",)),
    "3g2": ("3g2", ("audio/3gpp2",)),
}


def begins_like_audio(head: bytes) -> bool:
    """Whether a file that cannot be read was meant to be audio, by its first bytes."""
    # ADTS and MPEG audio begin with eleven or twelve bits of ones.
    synchronous = len(head) > 1 and head[0] == 0xFF and head[1] >= 0xE0
    return synchronous or any(head.startswith(mark, at) for at, mark in _BEGINNINGS)


def names(demuxer: str, codec: str, head: bytes, brand: str) -> tuple[str, tuple[str, ...]]:
    """Short name of the container and the content types that are true, the plainest first.

    `demuxer`, `codec`: FFmpeg's names. `head`: first bytes of the file. `brand`: the major one of an MP4.
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
    """The declared content type when it is one of the true ones, else the plainest of these."""
    plain = declared.partition(";")[0].strip().lower()
    return plain if plain in types else types[0]
