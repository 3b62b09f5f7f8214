"""Texts on their way to the model: cleaned, cut, and put into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lapel.slices.embeddings.model.model_messages import Kind

# Characters: more than the model embeds of a text of each kind, which is limited in tokens.
MOST_CHARACTERS: dict[Kind, int] = {"query": 2_000, "sentence": 1_000, "passage": 4_000}
# Of one batch, which the model embeds without a pause: other callers wait for so much at most.
BATCH_TEXTS = 32
BATCH_CHARACTERS = 16_000


def cleaned(text: str, kind: Kind) -> str:
    """The beginning of a text as the model can take it: without NUL, and without lone surrogates."""
    return text[: MOST_CHARACTERS[kind]].replace("\0", " ").encode("utf-8", "replace").decode()


def batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in order: per batch at most BATCH_TEXTS texts and BATCH_CHARACTERS characters.

    No text may be longer than BATCH_CHARACTERS.
    """
    batch: list[str] = []
    characters = 0
    for text in texts:
        if batch and (len(batch) == BATCH_TEXTS or characters + len(text) > BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text)
    if batch:
        yield batch
