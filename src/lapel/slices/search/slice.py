"""The slice of the search, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.slices import Slice, Table
from lapel.slices.configuration.service import Configuration
from lapel.slices.embeddings.service import Embeddings
from lapel.slices.search import jobs, routes
from lapel.slices.search.indexing.catching_up import CatchingUp
from lapel.slices.search.indexing.transcript_index import TranscriptIndex
from lapel.slices.search.indexing.vector_work import VectorWork
from lapel.slices.search.service import Search

if TYPE_CHECKING:
    from lapel.foundation.slices import Services


def _build(services: Services) -> tuple[object, ...]:
    ports, embeddings = services.ports, services[Embeddings]
    index = TranscriptIndex(ports, services[Configuration])
    return Search(ports, embeddings), index, CatchingUp(ports, index), VectorWork(ports, embeddings)


SLICE = Slice(
    name="search",
    build=_build,
    operations=lambda services: routes.operations(services[Search]),
    worker=lambda services: (services[VectorWork],),
    jobs=lambda services: jobs.handlers(services[VectorWork]),
    schedules=lambda services: jobs.schedules(services[VectorWork], services[CatchingUp]),
    ids={"chunk_id": "chk"},
    lanes=(jobs.LANE,),
    tables=(
        Table("search_transcripts", grows=True),
        Table("search_chunks", grows=True),
        Table("search_vectors", grows=True),
        Table("search_turns"),  # one row per world
    ),
    crash_points=(
        "index:written",
        "embed:claimed",
        "embed:embedded",
        "embed:before-commit",
        "embed:committed",
    ),
)
