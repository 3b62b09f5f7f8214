"""The end of the demo: a summary of the transcript, a search in it, and an answer with its second."""

from __future__ import annotations

import msgspec

from lapel.cli.demo.demo_calls import DemoCalls

TEMPLATE = "general_notes"
QUERY = "Is Mr. Dashwood selfish?"
QUESTION = "Was he an ill-disposed young man?"
# Seconds before the demo gives up on the summary: a language model of the user's may need minutes.
SUMMARY_TIMEOUT = 300
_ENDED = {"completed", "failed"}


class ShortSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The summary. `overview`: None if there is none; then `failure` says why.

    `model`: what made it; `extractive` means sentences of the transcript.
    """

    summary_id: str
    overview: str | None
    model: str | None
    failure: str | None


class CitedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to the question. `shown`: its text, with `[m:ss]` after each cited statement.

    `seconds`: the cited places, in seconds of the recording; none if the recording has no answer.
    """

    session_id: str
    question: str
    shown: str
    seconds: list[float]
    model: str | None


class FoundPassages(msgspec.Struct, frozen=True, kw_only=True):
    """The passages that a search found. `seconds`: where they begin in the recording, best first."""

    query: str
    seconds: list[float]


class Understanding(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo learned of the recording."""

    summary: ShortSummary
    found: FoundPassages
    answer: CitedAnswer


class _DemoOutput(msgspec.Struct):
    overview: str


class _DemoSummary(msgspec.Struct):
    id: str
    status: str
    model: str | None
    output: _DemoOutput | None
    error_message: str | None


class _DemoPassage(msgspec.Struct):
    recording_id: str
    start_ms: int


class _DemoResults(msgspec.Struct):
    results: list[_DemoPassage]


class _DemoPart(msgspec.Struct):
    type: str
    text: str = ""
    start_ms: int = 0


class _DemoMessage(msgspec.Struct):
    model: str | None
    parts: list[_DemoPart]


class _DemoAnswer(msgspec.Struct):
    session_id: str
    message: _DemoMessage


def understand(calls: DemoCalls, end_user_id: str, recording_id: str, transcription_id: str) -> Understanding:
    """Summarizes a completed transcription, searches it, and asks one question about it.

    Raises DemoError when a call gets no answer or an unexpected one.
    """
    summary = _summarize(calls, transcription_id)
    answer = calls.post(
        "search what was said",
        "/v1/recordings/search",
        {"query": QUERY, "end_user_id": end_user_id, "limit": 3},
        _DemoResults,
        until=lambda now: any(each.recording_id == recording_id for each in now.results),
    )
    found = FoundPassages(query=QUERY, seconds=[each.start_ms / 1000 for each in answer.results])
    return Understanding(summary=summary, found=found, answer=_ask(calls, recording_id))


def _summarize(calls: DemoCalls, transcription_id: str) -> ShortSummary:
    facts = {"transcription_id": transcription_id, "template_id": TEMPLATE}
    asked = calls.post("ask for a summary", "/v1/summaries", facts, _DemoSummary)
    done = calls.get(
        "read the summary",
        f"/v1/summaries/{asked.id}",
        _DemoSummary,
        until=lambda now: now.status in _ENDED,
        seconds=SUMMARY_TIMEOUT,
    )
    return ShortSummary(
        summary_id=done.id,
        overview=done.output.overview if done.output else None,
        model=done.model,
        failure=done.error_message,
    )


def _ask(calls: DemoCalls, recording_id: str) -> CitedAnswer:
    facts = {
        "scope": {"type": "recording", "recording_id": recording_id},
        "initial_message": {"content": QUESTION},
    }
    answer = calls.post("ask a question about the recording", "/v1/ask/sessions", facts, _DemoAnswer)
    cited = [each.start_ms for each in answer.message.parts if each.type == "citation"]
    return CitedAnswer(
        session_id=answer.session_id,
        question=QUESTION,
        shown="".join(map(_shown, answer.message.parts)).strip(),
        seconds=[start / 1000 for start in cited],
        model=answer.message.model,
    )


def _shown(part: _DemoPart) -> str:
    if part.type != "citation":
        return part.text
    return f" {place(part.start_ms / 1000)}"


def place(seconds: float) -> str:
    """A place in the recording as `[m:ss]`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"[{minutes}:{rest:02}]"
