"""One run: stores what a set needs in a server, lets the server search, answer and summarize, and counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import aiohttp
import msgspec

from lapel.cli.evaluate.asking import QuestionAsker
from lapel.cli.evaluate.chosen_set import PARTS, ChosenSet, Part
from lapel.cli.evaluate.evaluated_library import await_vectors, recordings_of, store
from lapel.cli.evaluate.evaluation_client import EvaluationClient
from lapel.cli.evaluate.figures import (
    AnsweredQuestion,
    AskFigures,
    AttackFigures,
    ClaimsOfHalf,
    JudgedClaim,
    Percentiles,
    SearchedQuestion,
    SearchFigures,
    SummaryFigures,
    ask_figures,
    claim_figures,
    percentiles,
    search_figures,
)
from lapel.cli.evaluate.judging import judge_claims
from lapel.cli.evaluate.summarizing import Summarizer, WrittenSummary, attack_figures, summary_figures
from lapel.cli.shared.faults import CommandError
from lapel.evaluation.conversations import Half
from lapel.slices.claims.service import ClaimJudge, reader_of
from lapel.slices.language_models.service import LanguageModels
from lapel.slices.usage.wire import ModelsToday, Usage

if TYPE_CHECKING:
    from lapel.foundation.slices import Services
    from lapel.slices.providers.service import LanguageSlot

T = TypeVar("T")
F = TypeVar("F")
HALVES: tuple[Half, ...] = ("judge", "choose")

Told = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


class EvaluatedServer(msgspec.Struct, frozen=True, kw_only=True):
    """The server that a run uses, and its world: it holds nothing else.

    `slot`: the name to ask for; None: the local engine. `second_reader`: whether its model reads each
    sentence of an answer, and each claim, again; None: as Ask does by itself.
    """

    base_url: str
    key: str
    services: Services
    world_id: int
    slot: LanguageSlot | None
    second_reader: bool | None = None
    concurrency: int = 1


class UsedTokens(msgspec.Struct, frozen=True, kw_only=True):
    """What language models of services used, and its price in US dollars at the prices of the slot."""

    calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_usd: float


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a run. Parts that did not run are null or empty.

    `search`, `ask`, `summaries` and `claims` by half: quote the half `judge`. `models`: what answered and
    summarized. `second_reader`: the model that read the claims again; null: none did. `embeddings`: the model
    of search by meaning; null: search found words only. Seconds of calls are measured with `concurrency`
    calls at once, those of claims with one. `seconds`: of the whole run, the start of the server left out.
    """

    slot: str
    models: list[str]
    second_reader: str | None
    embeddings: str | None
    concurrency: int
    conversations: int
    search: dict[Half, SearchFigures]
    search_seconds: Percentiles | None
    ask: dict[Half, AskFigures]
    ask_seconds: Percentiles | None
    summaries: dict[Half, SummaryFigures]
    summary_seconds: Percentiles | None
    attacks: AttackFigures | None
    claims: dict[Half, ClaimsOfHalf]
    claim_seconds: Percentiles | None
    used: UsedTokens
    seconds: float


async def run_evaluation(
    server: EvaluatedServer, chosen: ChosenSet, only: Part | None, told: Told
) -> Evaluation:
    """Run the parts of an evaluation: one, or all.

    Raises CallRefused and CommandError when the server does not store or find what it should. A model that
    fails does not end the run: its failures are counted.
    """
    parts = PARTS if only is None else (only,)
    began = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        client = EvaluationClient(session, server.base_url, server.key, server.concurrency)
        run = _EvaluatingRun(server, client, chosen, told)
        await run.prepare()
        for part in parts:
            await run.do(part)
        return run.result(time.perf_counter() - began, await run.usage())


class _EvaluatingRun:
    def __init__(
        self, server: EvaluatedServer, client: EvaluationClient, chosen: ChosenSet, told: Told
    ) -> None:
        self._server = server
        self._client = client
        self._chosen = chosen
        self._told = told
        self._models: set[str] = set()
        self._embeddings: str | None = None
        self._found: list[SearchedQuestion] = []
        self._answered: list[AnsweredQuestion] = []
        self._summaries: list[WrittenSummary] = []
        self._attacks: AttackFigures | None = None
        self._claims: list[JudgedClaim] = []
        self._second_reader: str | None = None

    async def prepare(self) -> None:
        """Store everything, and wait for its vectors."""
        services, world_id = self._server.services, self._server.world_id
        if self._server.second_reader is not None:
            change = {"second_reader": self._server.second_reader}
            await self._client.call("PATCH", "/v1/config/processing", dict[str, object], change)
        wanted = recordings_of(self._chosen)
        done = self._counter("storing", len(wanted))
        library = await store(self._client, services, world_id, self._chosen, done)

        def waiting(left: int) -> None:
            self._told("embedding", len(wanted) - left, len(wanted))

        self._embeddings = await await_vectors(services, world_id, waiting)
        self._asker = QuestionAsker(self._client, library, self._server.slot)
        self._summarizer = Summarizer(self._client, library, self._server.slot)

    async def do(self, part: Part) -> None:
        match part:
            case "search":
                await self._search()
            case "ask":
                await self._ask()
            case "summaries":
                await self._summarize()
            case "attacks":
                await self._attack()
            case "claims":
                await self._judge()

    async def _search(self) -> None:
        asked = [each for each in self._chosen.questions if each.answerable]
        self._found = await self._asker.search(asked, self._counter("searching", len(asked)))

    async def _ask(self) -> None:
        asked = self._chosen.questions
        self._answered = await self._asker.ask(asked, self._counter("asking", len(asked)))
        self._add_models([each.model for each in self._answered])

    async def _summarize(self) -> None:
        ids = [each.id for each in self._chosen.summarized]
        done = self._counter("summarizing", len(ids))
        self._summaries = await self._summarizer.summarize(ids, done)
        self._add_models([each.model for each in self._summaries])

    async def _attack(self) -> None:
        attacks = self._chosen.attacks
        done = self._counter("attacking", 2 * len(attacks))
        answers = await self._asker.ask_of_attacks(attacks, done)
        summaries = await self._summarizer.summarize([each.id for each in attacks], done)
        self._add_models([each.model for each in (*answers, *summaries)])
        self._attacks = attack_figures(attacks, answers, summaries)

    async def _judge(self) -> None:
        claims, services = self._chosen.claims, self._server.services
        slot, wanted = self._server.slot or "local", self._server.second_reader
        done = self._counter("judging", len(claims))
        async with services[LanguageModels].using(self._server.world_id, slot, purpose="ask") as model:
            if model is None and wanted:
                raise CommandError("there is no language model that could be the second reader.")
            reader = None if model is None else reader_of(model, wanted)
            self._second_reader = None if model is None or reader is None else model.name
            self._claims = await judge_claims(claims, services[ClaimJudge], reader, done)

    async def usage(self) -> ModelsToday:
        """What the server's world has used on this day."""
        return (await self._client.call("GET", "/v1/usage", Usage)).language_models_today

    def result(self, seconds: float, used: ModelsToday) -> Evaluation:
        """All figures. `seconds`: of the run."""
        halves: dict[str, Half] = {each.id: each.half for each in self._chosen.summarized}
        return Evaluation(
            slot=self._server.slot or "local",
            models=sorted(self._models),
            second_reader=self._second_reader,
            embeddings=self._embeddings,
            concurrency=self._server.concurrency,
            conversations=len(recordings_of(self._chosen)),
            search=_by_half(self._found, lambda each: each.half, search_figures),
            search_seconds=percentiles([each.seconds for each in self._found]),
            ask=_by_half(self._answered, lambda each: each.half, ask_figures),
            ask_seconds=percentiles([each.seconds for each in self._answered if each.failed is None]),
            summaries=_by_half(
                self._summaries,
                lambda each: halves[each.id],
                lambda made: summary_figures(made, self._chosen.told_facts),
            ),
            summary_seconds=percentiles([each.seconds for each in self._summaries if each.failed is None]),
            attacks=self._attacks,
            claims=_by_half(self._claims, lambda each: each.half, claim_figures),
            claim_seconds=percentiles([each.seconds for each in self._claims]),
            used=UsedTokens(
                calls=used.calls,
                input_tokens=used.input_tokens,
                output_tokens=used.output_tokens,
                cached_tokens=used.cached_tokens,
                cost_usd=used.cost_usd,
            ),
            seconds=round(seconds, 1),
        )

    def _counter(self, what: str, total: int) -> Callable[[], None]:
        """Tells of one more each time it is called."""
        count = 0
        self._told(what, 0, total)

        def done() -> None:
            nonlocal count
            count += 1
            self._told(what, count, total)

        return done

    def _add_models(self, models: Sequence[str | None]) -> None:
        self._models |= {each for each in models if each is not None}


def _by_half(
    found: Sequence[T], half_of: Callable[[T], Half], figures_of: Callable[[Sequence[T]], F]
) -> dict[Half, F]:
    """The figures of each half that has anything."""
    parts: dict[Half, list[T]] = {half: [each for each in found if half_of(each) == half] for half in HALVES}
    return {half: figures_of(some) for half, some in parts.items() if some}
