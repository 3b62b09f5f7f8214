"""The messages between the query process and its clients, as frames on a Unix socket.

A client sends requests whenever it likes, and the answers come in any order: each names its request.
"""

from __future__ import annotations

import msgspec

from lapel.slices.embeddings.model.model_messages import Kind

MOST_SENTENCES = 64  # in one request
# Bytes of a body. The largest request has 64 sentences of 1,000 characters with 4 bytes each.
MOST_OF_A_REQUEST = 300_000
MOST_OF_AN_ANSWER = 150_000
# Seconds that a client waits for an answer.
PATIENCE: dict[Kind, float] = {"query": 2.0, "sentence": 10.0, "passage": 0.0}


class EmbedRequest(msgspec.Struct, frozen=True, array_like=True):
    """One query, or some sentences, all cleaned. `number` is the client's own. Projects take turns, and so do
    the worlds of a project; those of a client without any have the names "" and 0."""

    number: int
    kind: Kind
    texts: list[str]
    project: str
    world: int


class EmbedAnswer(msgspec.Struct, frozen=True, array_like=True):
    """The packed vectors, as in Vectors; None when the process has too much to do or the engine failed."""

    number: int
    packed: bytes | None
