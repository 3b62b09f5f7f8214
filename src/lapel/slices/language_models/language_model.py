"""The interface of every language model, and what it is asked and answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Literal, Protocol, TypeAlias

import msgspec

# The work that a model is called for. Users wait for an answer of Ask; nobody waits for a summary.
Purpose: TypeAlias = Literal["summary", "ask"]
FinishReason: TypeAlias = Literal["stop", "length", "content_filter"]
# A JSON Schema. The engines' common subset: closed objects, every property required, null for what may be
# missing, `enum`, at most 5 levels, no lengths and no ranges.
JsonSchema: TypeAlias = Mapping[str, object]

# The `model` of an answer that no language model wrote: it consists of sentences of the transcript.
EXTRACTIVE = "extractive"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a conversation with a model. `fixed`: so many characters at the beginning of `text` are
    the same in the next prompts of the conversation, with all that is before them, so that an engine may keep
    its work on them."""

    role: Literal["user", "assistant"]
    text: str
    fixed: int = 0


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """A request to a model. `max_tokens`: the longest answer.

    `instructions`: the rules, which no message may change. `messages`: the conversation; the last message is
    the user's. `schema`: the answer is JSON of this schema; None for an answer in words. `name`: a name for
    the schema, 1 to 64 characters of A-Z, a-z, 0-9, `_` and `-`.
    """

    instructions: str
    messages: Sequence[Message]
    max_tokens: int
    schema: JsonSchema | None = None
    name: str = "answer"


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens that a call used, as the engine counts them; None where it does not tell.

    `input` includes the `cached` tokens, which the engine had kept, and the `cache_written` ones, which it
    begins to keep.
    """

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    cache_written: int | None = None


class Generated(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer of a model. `model`: the model that answered, as the engine names it.

    `finish_reason`: `length` if the answer was cut off at the limit of tokens, `content_filter` if the engine
    withheld the rest of it.
    """

    text: str
    model: str
    tokens: Tokens = Tokens()
    finish_reason: FinishReason = "stop"


class LanguageModel(Protocol):
    """A model, for one call after the other."""

    # As it is asked for. An engine may answer with a more exact name.
    name: str
    # Tokens of input and output together.
    context_tokens: int
    # Whether it is the second reader of claims (slices/claims) unless the configuration says otherwise.
    reads_claims: bool

    async def generate(self, prompt: Prompt) -> Generated:
        """The whole answer. Raises ModelFailed when another try cannot help, ModelAway when it may help."""
        ...

    def stream(self, prompt: Prompt) -> AsyncGenerator[str | Generated]:
        """The answer in pieces of text as they come, and then one Generated with the whole answer.

        To close the generator ends the call. Raises what `generate` raises, also after some pieces.
        """
        ...


async def whole_answer(stream: AsyncGenerator[str | Generated]) -> Generated:
    """The whole answer at the end of a stream, which is closed then. Raises what the stream raises."""
    async with aclosing(stream) as pieces:
        async for piece in pieces:
            if isinstance(piece, Generated):
                return piece
    raise AssertionError("a stream ends with the whole answer")
