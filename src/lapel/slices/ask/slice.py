"""The slice of Ask, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.slices import Slice, Table
from lapel.slices.ask import jobs, routes
from lapel.slices.ask.answering.answer_stream import Following
from lapel.slices.ask.answering.answers import Answers
from lapel.slices.ask.composing.composer import Composer
from lapel.slices.ask.composing.retrieval import Retrieval
from lapel.slices.ask.errors import ProviderError
from lapel.slices.ask.service import Ask
from lapel.slices.claims.service import ClaimJudge
from lapel.slices.configuration.service import Configuration
from lapel.slices.embeddings.service import Embeddings
from lapel.slices.language_models.service import LanguageModels
from lapel.slices.search.service import Search

if TYPE_CHECKING:
    from lapel.foundation.slices import Services


def _build(services: Services) -> tuple[Answers, Ask]:
    ports = services.ports
    retrieval = Retrieval(ports, services[Search])
    configuration = services[Configuration]
    composer = Composer(services[LanguageModels], retrieval, services[Embeddings], services[ClaimJudge])
    answers = Answers(ports, composer, configuration)
    return answers, Ask(ports, configuration, answers, Following(ports))


SLICE = Slice(
    name="ask",
    build=_build,
    operations=lambda services: routes.operations(services[Ask]),
    schedules=lambda services: jobs.schedules(services.ports),
    scopes=("ask:read", "ask:write"),
    ids={"session_id": "as", "message_id": "msg"},
    errors=(ProviderError,),
    tables=(
        Table("ask_sessions", grows=True),
        Table("ask_session_recordings", grows=True),
        Table("ask_messages", grows=True),
        Table("ask_answer_recordings", grows=True),
        Table("ask_answers"),  # a few rows, while answers are made
    ),
    crash_points=(
        "ask:begun",
        "ask:running",
        "ask:composed",
        "ask:locked",
        "ask:before-commit",
        "ask:committed",
    ),
)
