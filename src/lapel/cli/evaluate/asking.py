"""Searches and asks every question of a set, by the routes of the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from lapel.cli.evaluate.evaluated_library import ATTACKED
from lapel.cli.evaluate.evaluation_client import CallRefused
from lapel.cli.evaluate.figures import AnsweredQuestion, SearchedQuestion, is_inside
from lapel.evaluation.questions import LIBRARY, SupportSpan, facts_said, recall
from lapel.slices.search.wire import SearchResults

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.cli.evaluate.evaluated_library import EvaluatedLibrary
    from lapel.cli.evaluate.evaluation_client import EvaluationClient
    from lapel.evaluation.attacks import PlantedAttack
    from lapel.evaluation.questions import EvaluationQuestion
    from lapel.slices.providers.service import LanguageSlot

RESULTS = 8


class _SaidPart(msgspec.Struct, tag="text", tag_field="type"):
    text: str


class _CitedPart(msgspec.Struct, tag="citation", tag_field="type"):
    recording_id: str
    start_ms: int


class _SaidMessage(msgspec.Struct):
    content: str
    parts: list[_SaidPart | _CitedPart]
    model: str | None


class _AskedAnswer(msgspec.Struct):
    message: _SaidMessage


class GivenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer. `citations`: conversation or attack, and milliseconds. `failed`: the error code, if there is
    no answer."""

    text: str
    citations: list[tuple[str, int]]
    model: str | None
    seconds: float
    failed: str | None = None


class QuestionAsker:
    """Asks a server about what was stored in it. `slot`: the name to ask for; None for the local engine."""

    def __init__(
        self, client: EvaluationClient, library: EvaluatedLibrary, slot: LanguageSlot | None
    ) -> None:
        self._client = client
        self._library = library
        self._slot = slot

    async def search(
        self, questions: Sequence[EvaluationQuestion], done: Callable[[], None]
    ) -> list[SearchedQuestion]:
        """Search for every answerable question, in its own scope."""

        async def one(question: EvaluationQuestion) -> SearchedQuestion:
            body: dict[str, object] = {
                "query": question.question,
                "end_user_id": self._library.end_users[question.end_user],
                "limit": RESULTS,
            }
            if question.scope != LIBRARY:
                body["recording_ids"] = [self._library.recordings[question.scope]]
            found, seconds = await self._client.timed("POST", "/v1/recordings/search", SearchResults, body)
            places = [
                SupportSpan(
                    conversation=self._library.written_id(row.recording_id),
                    start_ms=row.start_ms,
                    end_ms=row.end_ms,
                )
                for row in found.results
            ]
            return SearchedQuestion(
                half=question.half, kind=question.kind, recall=recall(question, places), seconds=seconds
            )

        return await self._client.each([each for each in questions if each.answerable], one, done)

    async def ask(
        self, questions: Sequence[EvaluationQuestion], done: Callable[[], None]
    ) -> list[AnsweredQuestion]:
        """Ask every question in a new session of its own scope."""

        async def one(question: EvaluationQuestion) -> AnsweredQuestion:
            given = await self._asked(question.question, question.end_user, question.scope)
            return AnsweredQuestion(
                half=question.half,
                kind=question.kind,
                answerable=question.answerable,
                failed=given.failed,
                citations=len(given.citations),
                inside=sum(is_inside(question, *place) for place in given.citations),
                facts=facts_said(question, given.text),
                model=given.model,
                seconds=given.seconds,
            )

        return await self._client.each(questions, one, done)

    async def ask_of_attacks(
        self, attacks: Sequence[PlantedAttack], done: Callable[[], None]
    ) -> list[GivenAnswer]:
        """Ask the harmless question of each attack, of its recording alone.

        An attack that wants another recording cited is asked of all attacked recordings.
        """

        async def one(attack: PlantedAttack) -> GivenAnswer:
            scope = LIBRARY if attack.obeyed_if.cites_elsewhere else attack.id
            return await self._asked(attack.question, ATTACKED, scope)

        return await self._client.each(attacks, one, done)

    async def _asked(self, question: str, end_user: str, scope: str) -> GivenAnswer:
        library = self._library
        message = {"content": question} | ({"provider": self._slot} if self._slot else {})
        body: dict[str, object] = {
            "scope": {"type": "library"}
            if scope == LIBRARY
            else {"type": "recording", "recording_id": library.recordings[scope]},
            "end_user_id": library.end_users[end_user],
            "initial_message": message,
        }
        try:
            answer, seconds = await self._client.timed("POST", "/v1/ask/sessions", _AskedAnswer, body)
        except CallRefused as refused:
            return GivenAnswer(text="", citations=[], model=None, seconds=0.0, failed=refused.code)
        said = answer.message
        cited = [
            (library.written_id(each.recording_id), each.start_ms)
            for each in said.parts
            if isinstance(each, _CitedPart)
        ]
        return GivenAnswer(text=said.content, citations=cited, model=said.model, seconds=seconds)
