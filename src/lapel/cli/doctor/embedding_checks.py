"""The checks of `lapel doctor` for search by meaning: the embedding model, and vectors that are missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.cli.doctor.checks import Finding, another_worker
from lapel.slices.embeddings.model.model_files import INSTALL, PACKAGE
from lapel.slices.embeddings.service import Embeddings, EmbeddingsAway, NoEmbeddings
from lapel.slices.search.service import measure_waiting

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.settings import Settings

_PART = "meaning"
_LATE = timedelta(minutes=5)
_REMEDY = (
    f"Install the package {PACKAGE}: `make setup` in a clone, else `{INSTALL}` with the pip of Lapel's own "
    "environment. Then restart the server."
)


def meaning(settings: Settings) -> Iterator[Finding]:
    """Whether this machine can search by meaning. A machine that only runs the store has no finding.

    Embeds a word, in a child process like that of a worker, which compares the checksum of the weights first.
    """
    if settings.role == "store":
        return
    embeddings = Embeddings(settings)
    if embeddings.model is None:
        detail = "no embedding model: search finds words, and not meaning"
        yield Finding(_PART, "warning", detail, _REMEDY)
        return
    try:
        asyncio.run(_tried(embeddings))
    except (NoEmbeddings, EmbeddingsAway) as fault:
        yield Finding(_PART, "broken", f"search finds words, and not meaning. {fault}", _REMEDY)
    else:
        yield Finding(_PART, "ok", f"embedded by {embeddings.model}, checksum right")


async def vectors(connection: Connection, settings: Settings) -> Finding:
    """Whether transcripts wait for vectors that only lack a worker with the model."""
    found = await measure_waiting(connection)
    if found.seconds > _LATE.total_seconds():
        detail = (
            f"transcripts that wait for vectors: {found.transcripts}, the oldest for {found.seconds:.0f} s; "
            "until then search finds them by their words alone"
        )
        remedy = (
            f"See what is said about `{_PART}` on each machine with a worker. If the model is there: "
            f"{another_worker(settings)}"
        )
        return Finding("vectors", "warning", detail, remedy)
    return Finding("vectors", "ok", "no transcript waits long for vectors")


async def _tried(embeddings: Embeddings) -> None:
    try:
        await embeddings.passages(["a word"])
    finally:
        await embeddings.aclose()
