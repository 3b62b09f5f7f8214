"""Summarizes conversations by the routes of the API, and looks for attacks that were obeyed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import msgspec

from lapel.cli.evaluate.evaluation_client import CallRefused
from lapel.cli.evaluate.figures import AttackFigures, ObeyedAttack, SummaryFigures, failures, rounded
from lapel.evaluation.attacks import obeyed
from lapel.evaluation.questions import facts_said
from lapel.slices.ask.composing.answer_prompt import INSTRUCTIONS
from lapel.slices.summaries.templates.builtin import BUILT_IN
from lapel.slices.summaries.writing.prompts import rules_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lapel.cli.evaluate.asking import GivenAnswer
    from lapel.cli.evaluate.evaluated_library import EvaluatedLibrary
    from lapel.cli.evaluate.evaluation_client import EvaluationClient
    from lapel.evaluation.attacks import PlantedAttack
    from lapel.evaluation.questions import EvaluationQuestion
    from lapel.slices.providers.service import LanguageSlot

_TEMPLATE = "tmpl_general_notes"
# Seconds between two looks at a summary: at first, and at most.
_FIRST_LOOK, _LONGEST_LOOK = 0.1, 1.0


class _SummaryFault(msgspec.Struct):
    code: str


class _Summary(msgspec.Struct):
    id: str
    status: str
    model: str | None
    output: msgspec.Raw
    error: _SummaryFault | None


class WrittenSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A summary. `output`: its JSON; empty if it `failed`, which is the error code."""

    id: str
    output: bytes
    model: str | None
    seconds: float
    failed: str | None = None

    @property
    def said(self) -> str:
        """The JSON of what the summary says: without the evidence, whose numbers are the server's."""
        value = cast("Mapping[str, object]", msgspec.json.decode(self.output))
        return msgspec.json.encode({key: value[key] for key in value if key != "evidence"}).decode()


class Summarizer:
    """Lets a server summarize what was stored in it, with the template for general notes."""

    def __init__(
        self, client: EvaluationClient, library: EvaluatedLibrary, slot: LanguageSlot | None
    ) -> None:
        self._client = client
        self._library = library
        self._slot = slot

    async def summarize(self, ids: Sequence[str], done: Callable[[], None]) -> list[WrittenSummary]:
        """Summarize conversations or attacks, by their ids of the set."""

        async def one(written_id: str) -> WrittenSummary:
            began = time.perf_counter()
            try:
                made = await self._ended(written_id)
            except CallRefused as refused:
                return WrittenSummary(id=written_id, output=b"", model=None, seconds=0.0, failed=refused.code)
            return WrittenSummary(
                id=written_id,
                output=bytes(made.output) if made.status == "completed" else b"",
                model=made.model,
                seconds=time.perf_counter() - began,
                failed=None if made.error is None else made.error.code,
            )

        return await self._client.each(ids, one, done)

    async def _ended(self, written_id: str) -> _Summary:
        body = {
            "transcription_id": self._library.transcriptions[written_id],
            "template_id": _TEMPLATE,
            "provider": self._slot or "local",
        }
        made = await self._client.call("POST", "/v1/summaries", _Summary, body)
        pause = _FIRST_LOOK
        while made.status not in ("completed", "failed"):
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_LOOK)
            made = await self._client.call("GET", f"/v1/summaries/{made.id}", _Summary)
        return made


def summary_figures(
    made: Sequence[WrittenSummary], questions: Sequence[EvaluationQuestion]
) -> SummaryFigures:
    """The figures of summaries. `questions`: those about the conversations, whose facts matter in them."""
    entries, rested, facts = 0, 0, list[float]()
    for each in made:
        if each.failed is not None:
            continue
        for has_evidence in _evidence_of_entries(each.output):
            entries += 1
            rested += has_evidence
        said = each.said
        facts += [
            facts_said(question, said)
            for question in questions
            if question.expected and {span.conversation for span in question.expected} == {each.id}
        ]
    return SummaryFigures(
        summaries=len(made),
        failed=failures(each.failed for each in made),
        entries=entries,
        evidence=round(rested / entries, 4) if entries else None,
        facts=rounded(facts),
    )


def attack_figures(
    attacks: Sequence[PlantedAttack], answers: Sequence[GivenAnswer], summaries: Sequence[WrittenSummary]
) -> AttackFigures:
    """Which attacks an answer or a summary obeyed. The three lists have the same order."""
    found: list[ObeyedAttack] = []
    for attack, answer, summary in zip(attacks, answers, summaries, strict=True):
        # A refusal cites nothing, and obeys nothing.
        if answer.failed is None and answer.citations:
            cited = {each for each, _ in answer.citations}
            reason = obeyed(attack, answer.text, answers=True, instructions=INSTRUCTIONS, cited=cited)
            if reason is not None:
                found.append(ObeyedAttack(id=attack.id, by="answer", reason=reason))
        if summary.failed is None:
            rules = rules_for(BUILT_IN[_TEMPLATE], "transcript", language=attack.language, part=None)
            reason = obeyed(attack, summary.said, answers=False, instructions=rules)
            if reason is not None:
                found.append(ObeyedAttack(id=attack.id, by="summary", reason=reason))
    return AttackFigures(
        attacks=len(attacks),
        answers=sum(each.failed is None and bool(each.citations) for each in answers),
        summaries=sum(each.failed is None for each in summaries),
        failed=failures(each.failed for each in (*answers, *summaries)),
        facts=rounded(
            _share(attack.facts, answer.text if answer.citations else "")
            for attack, answer in zip(attacks, answers, strict=True)
        ),
        obeyed=found,
    )


def _share(facts: Sequence[Sequence[str]], text: str) -> float:
    said = text.casefold()
    return sum(any(form.casefold() in said for form in fact) for fact in facts) / len(facts)


def _evidence_of_entries(output: bytes) -> list[bool]:
    """Of each entry of a summary of general notes, whether it has evidence."""
    value = cast("Mapping[str, object]", msgspec.json.decode(output))
    evidence = cast("Mapping[str, Sequence[object]]", value.get("evidence") or {})
    found: list[bool] = []
    for field, held in value.items():
        if field == "evidence" or held is None:
            continue
        count = len(cast("Sequence[object]", held)) if isinstance(held, list) else 1
        places = evidence.get(field) or []
        found += [place < len(places) and bool(places[place]) for place in range(count)]
    return found
