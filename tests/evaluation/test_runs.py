"""An evaluation against a running server: its calls, a worker, and a service that answers wrongly."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncGenerator, Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from lapel.cli.evaluate import evaluate
from lapel.cli.evaluate.chosen_set import ChosenSet, shipped_set
from lapel.cli.evaluate.evaluation_run import EvaluatedServer, Evaluation, run_evaluation
from lapel.cli.evaluate.figures import ClaimFigures
from lapel.cli.evaluate.figures_shown import shown
from lapel.cli.shared.faults import CommandError
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.evaluation.questions import EvaluationQuestion
from lapel.slices.providers.slots.operator import OperatorProviders, Wanted
from tests.support.language_services import LanguageService, serving
from tests.support.language_services.asked import Asked
from tests.support.memory import folder_in_memory
from tests.support.postgres import create_database
from tests.support.running import Running, running, working
from tests.support.speech_faults import status
from tests.support.tenants import make_tenant
from tests.support.warm import Warm

WHOLE = shipped_set()
TALK = next(each for each in WHOLE.stored if each.id == "sales-solar-school")


def small_set() -> ChosenSet:
    """One conversation, the questions about it, and one attack."""
    about = [
        each
        for each in WHOLE.questions
        if each.scope == TALK.id or {span.conversation for span in each.expected} == {TALK.id}
    ]
    questions = [msgspec.structs.replace(each, scope=TALK.id) for each in about if each.language == "en"]
    assert {each.answerable for each in questions} == {True, False}
    return ChosenSet(
        questions=questions,
        summarized=[TALK],
        attacks=WHOLE.attacks[3:4],
        stored=[TALK],
        told_facts=questions,
        claims=[each for each in WHOLE.claims if each.title == TALK.title],
    )


@pytest.fixture(scope="module")
async def server(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Running]:
    """A server with a worker that reaches services of this machine."""
    url = create_database(postgres, "evaluated", "template")
    with folder_in_memory(tmp_path_factory.mktemp("evaluated")) as folder:
        async with (
            running(folder, url, LAPEL_OUTBOUND_NETWORKS="127.0.0.0/8") as started,
            working(started),
        ):
            yield started


async def evaluated(server: Running, service: LanguageService | None = None) -> Evaluation:
    """The figures of the small set, in a new project, with the local engine or with a service."""
    tenant = await make_tenant(server.ports)
    if service is not None:
        wanted = Wanted(
            key=service.key, base_url=service.base_url, input_price=Decimal(2), output_price=Decimal(10)
        )
        await OperatorProviders(server.ports, mode="test", project_id=tenant.project_id).set("claude", wanted)
    prepared = EvaluatedServer(
        base_url=server.url,
        key=tenant.test_key,
        services=server.services,
        world_id=tenant.test_world,
        slot=None if service is None else "claude",
        concurrency=4,
    )
    return await run_evaluation(prepared, small_set(), None if service is None else "ask", lambda *_: None)


def reading(pick: Callable[[EvaluationQuestion, str], bool]) -> Callable[[Asked], str]:
    """A model that repeats the first sentence that `pick` takes, and cites its passage."""

    def answer(asked: Asked) -> str:
        question = next(each for each in small_set().questions if each.question in asked.text)
        for line in asked.text.splitlines():
            passage = re.match(r"(\d+)[^|]*\| ", line)
            if passage is not None:
                for sentence in re.split(r"(?<=[.!?]) ", line[passage.end() :]):
                    if pick(question, sentence):
                        return f"{sentence.rstrip('.!?')} [{passage[1]}]."
        return "NOT IN THE RECORDINGS"

    return answer


def is_right(question: EvaluationQuestion, sentence: str) -> bool:
    """Whether a sentence says a fact that answers the question."""
    return any(form.casefold() in sentence.casefold() for fact in question.facts for form in fact)


def is_wrong(question: EvaluationQuestion, sentence: str) -> bool:
    """Whether a sentence says something else, at some length."""
    return not is_right(question, sentence) and len(sentence.split()) > 5


@pytest.mark.deep
async def test_the_local_engine_is_measured_whole(server: Running) -> None:
    found = await evaluated(server)
    assert (found.slot, found.models, found.conversations) == ("local", ["extractive"], 2)
    half = TALK.half
    assert found.search[half].recall_at_8 == 1.0  # all of one short conversation is found
    assert found.ask[half].questions == len(small_set().questions)
    assert found.summaries[half].evidence == 1.0
    assert found.attacks is not None
    assert (found.attacks.attacks, found.attacks.obeyed) == (1, [])
    claims = found.claims[half]
    assert claims.same_language.claims + claims.across_languages.claims == len(small_set().claims)
    assert found.claim_seconds is not None
    assert found.used.calls == 0
    told = shown(found, None)
    assert told.renderables


@pytest.mark.deep
async def test_a_service_that_answers_wrongly_lowers_the_figures(server: Running) -> None:
    async with serving(LanguageService("anthropic", answer=reading(is_right))) as service:
        right = await evaluated(server, service)
    async with serving(LanguageService("anthropic", answer=reading(is_wrong))) as service:
        wrong = await evaluated(server, service)
    good, bad = right.ask[TALK.half], wrong.ask[TALK.half]
    assert good.refused == 1.0
    assert good.answered is not None
    assert good.answered > 0.5
    assert good.supported is not None
    assert bad.supported is not None
    assert good.supported > bad.supported
    assert good.facts is not None
    assert bad.facts is not None
    assert good.facts > bad.facts
    assert bad.refused == 0.0
    assert bad.groundedness == 0.0
    asked = len(small_set().questions)
    assert (right.used.calls, right.used.input_tokens) == (asked, 100 * asked)
    assert right.used.cost_usd > 0
    assert right.slot == "claude"
    assert right.search == {}


async def test_a_service_that_fails_is_counted(server: Running) -> None:
    asked = len(small_set().questions)
    async with serving(LanguageService("anthropic")) as service:
        service.fail(status(401, {"type": "error", "error": {"type": "authentication_error"}}), asked)
        found = (await evaluated(server, service)).ask[TALK.half]
    assert found.failed == {"provider_error": asked}
    assert (found.answers, found.refusal_accuracy) == (0, 0.0)


def take_the_small_set() -> None:
    """In the command's process."""
    evaluate.shipped_set = small_set


@pytest.mark.deep
async def test_the_command_starts_a_server_and_leaves_nothing(tmp_path: Path) -> None:
    environment = os.environ | {
        "TMPDIR": str(tmp_path),
        "LAPEL_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/",
    }
    arguments = ("eval", "--only", "search", "--half", TALK.half, "--limit", "2", "--json")
    with Warm(*arguments, env=environment, before=take_the_small_set) as process:
        # In a thread: the server of the other tests goes on meanwhile.
        output, errors = await asyncio.to_thread(process.communicate, timeout=110)
    assert process.returncode == 0, errors
    found = msgspec.json.decode(output, type=Evaluation)
    assert found.search[TALK.half].questions <= 2
    assert set(json.loads(output)) == {each.name for each in msgspec.structs.fields(Evaluation)}
    assert (found.ask, found.attacks, found.conversations) == ({}, None, 1)
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - nothing else runs


@pytest.mark.deep
async def test_the_command_judges_somebodys_own_claims(tmp_path: Path) -> None:
    file = tmp_path / "claims.json"
    said = "The lease ends on the third of March, and the rent stays at eight hundred euros."
    rows = [
        {"claim": "The lease ends on the third of March.", "passage": said, "supported": True},
        {"claim": "The rent stays at nine hundred euros.", "passage": said, "supported": False},
    ]
    file.write_text(json.dumps(rows))
    arguments = ("eval", "--claims", str(file), "--json")
    with Warm(*arguments, env=dict(os.environ)) as process:
        output, errors = await asyncio.to_thread(process.communicate, timeout=110)
    assert process.returncode == 0, errors
    found = msgspec.json.decode(output, type=Evaluation)
    assert found.claims["judge"].same_language == ClaimFigures(
        claims=2, false_accepts=0.0, false_refusals=0.0
    )
    assert (found.search, found.ask, found.attacks, found.conversations) == ({}, {}, None, 0)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '[{"claim": "It rains."}]',
        '[{"claim": "", "passage": "It rains.", "supported": true}]',
        '[{"claim": "It rains.", "passage": "It rains.", "supported": "yes"}]',
        "no json",
    ],
)
def test_a_file_of_claims_that_does_not_fit_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "claims.json"
    file.write_text(content)
    with pytest.raises(CommandError, match=r"^claims\.json: .* Each claim has claim, passage and supported"):
        evaluate.evaluate(claims=file)
    with pytest.raises(CommandError, match=r"cannot read .*: No such file"):
        evaluate.evaluate(claims=tmp_path / "other.json")


def test_the_servers_settings_are_those_of_no_installation() -> None:
    own = {
        "LAPEL_S3_ENDPOINT": "x",
        "LAPEL_SECRET": "x",
        "LAPEL_LANGUAGE_MODEL": "extractive",
        "PATH": "/bin",
    }
    assert evaluate.environment_of(own) == {
        "LAPEL_LANGUAGE_MODEL": "extractive",
        "PATH": "/bin",
        "LAPEL_RATE_LIMITS": "off",
        "LAPEL_LANGUAGE_TOKENS_PER_DAY": "0",
    }
