"""Answers of remote providers, in the shape of the examples in their documentation: two people talk."""

from __future__ import annotations

from typing import Any


def _deepgram_word(word: str, shown: str, start: float, end: float, speaker: int) -> dict[str, Any]:
    return {
        "word": word, "start": start, "end": end, "confidence": 0.98, "speaker": speaker,
        "speaker_confidence": 0.7, "punctuated_word": shown,
    }  # fmt: skip


_DEEPGRAM_WORDS = [
    _deepgram_word("good", "Good", 0.5, 0.8, 1),
    _deepgram_word("morning", "morning.", 0.8, 1.3, 1),
    _deepgram_word("hello", "Hello", 2.0, 2.4, 0),
    _deepgram_word("there", "there!", 2.4, 2.9, 0),
]
DEEPGRAM: dict[str, Any] = {
    "metadata": {
        "request_id": "9f1c", "sha256": "ab",
        "created": "2026-01-15T12:00:00Z", "duration": 24.73, "channels": 1, "models": ["m1"],
        "model_info": {"m1": {"name": "general-nova-3", "version": "2025-04-17", "arch": "nova-3"}},
    },
    "results": {
        "channels": [
            {
                "alternatives": [
                    {
                        "transcript": "Good morning. Hello there!", "confidence": 0.99,
                        "words": _DEEPGRAM_WORDS,
                        "paragraphs": {"transcript": "\nSpeaker 1: Good morning.", "paragraphs": []},
                    }
                ],
                "detected_language": "en", "language_confidence": 0.97,
            }
        ],
        "utterances": [
            {
                "start": 0.5, "end": 1.3, "confidence": 0.97, "channel": 0, "transcript": "Good morning.",
                "words": _DEEPGRAM_WORDS[:2], "speaker": 1, "id": "u1",
            },
            {
                "start": 2.0, "end": 2.9, "confidence": 0.96, "channel": 0, "transcript": "Hello there!",
                "words": _DEEPGRAM_WORDS[2:], "speaker": 0, "id": "u2",
            },
        ],
    },
}  # fmt: skip


def _assembly_word(text: str, start: int, end: int, speaker: str) -> dict[str, Any]:
    return {"text": text, "start": start, "end": end, "confidence": 0.98, "speaker": speaker}


_ASSEMBLY_WORDS = [
    _assembly_word("Good", 500, 800, "B"),
    _assembly_word("morning.", 800, 1300, "B"),
    _assembly_word("Hello", 2000, 2400, "A"),
    _assembly_word("there!", 2400, 2900, "A"),
]
ASSEMBLYAI: dict[str, Any] = {
    "id": "t-1", "language_code": "en_us", "language_confidence": 0.97, "status": "completed", "audio_url": "https://x",
    "text": "Good morning. Hello there!", "words": _ASSEMBLY_WORDS, "confidence": 0.97, "audio_duration": 25,
    "punctuate": True, "format_text": True, "speaker_labels": True,
    "speech_models": ["assemblyai-stt-3-7", "universal-2"], "speech_model_used": "assemblyai-stt-3-7",
    "metadata": {"domain_used": None, "warning": None}, "error": None,
    "utterances": [
        {
            "speaker": "B", "text": "Good morning.", "confidence": 0.97, "start": 500, "end": 1300,
            "words": _ASSEMBLY_WORDS[:2],
        },
        {
            "speaker": "A", "text": "Hello there!", "confidence": 0.96, "start": 2000, "end": 2900,
            "words": _ASSEMBLY_WORDS[2:],
        },
    ],
}  # fmt: skip


def _token(text: str, start: float, end: float, speaker: str, kind: str = "word") -> dict[str, Any]:
    return {
        "text": text, "start": start, "end": end, "type": kind, "speaker_id": speaker, "logprob": -0.02,
        "characters": None,
    }  # fmt: skip


ELEVENLABS: dict[str, Any] = {
    "language_code": "eng", "language_probability": 0.97, "text": "Good morning. (laughter) Hello there!",
    "words": [
        _token("Good", 0.5, 0.8, "speaker_1"), _token(" ", 0.8, 0.8, "speaker_1", "spacing"),
        _token("morning.", 0.8, 1.3, "speaker_1"), _token(" ", 1.3, 1.4, "speaker_1", "spacing"),
        _token("(laughter)", 1.4, 1.9, "speaker_1", "audio_event"),
        _token(" ", 1.9, 2.0, "speaker_0", "spacing"), _token("Hello", 2.0, 2.4, "speaker_0"),
        _token(" ", 2.4, 2.4, "speaker_0", "spacing"), _token("there!", 2.4, 2.9, "speaker_0"),
    ],
    "transcription_id": "x1",
}  # fmt: skip

OPENAI: dict[str, Any] = {
    "task": "transcribe", "language": "english", "duration": 2.95, "text": "Good morning. Hello there!",
    "words": [
        {"word": "Good", "start": 0.5, "end": 0.8}, {"word": "morning", "start": 0.8, "end": 1.3},
        {"word": "Hello", "start": 2.0, "end": 2.4}, {"word": "there", "start": 2.4, "end": 2.9},
    ],
    "segments": [
        {
            "id": 0, "seek": 0, "start": 0.5, "end": 1.3, "text": " Good morning.", "tokens": [50364, 2205],
            "temperature": 0.0, "avg_logprob": -0.03, "compression_ratio": 0.8, "no_speech_prob": 0.01,
        },
        {
            "id": 1, "seek": 0, "start": 2.0, "end": 2.9, "text": " Hello there!", "tokens": [50364, 2425],
            "temperature": 0.0, "avg_logprob": -0.04, "compression_ratio": 0.8, "no_speech_prob": 0.01,
        },
    ],
}  # fmt: skip
