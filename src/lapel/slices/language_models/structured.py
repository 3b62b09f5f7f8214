"""Answers as JSON: validated against the schema of the prompt, whatever the engine promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from lapel.slices.language_models.language_model import Generated, Message, Tokens
from lapel.slices.language_models.model_failures import ModelFailed
from lapel.slices.language_models.schema_faults import describe_fault

if TYPE_CHECKING:
    from lapel.slices.language_models.language_model import JsonSchema, LanguageModel, Prompt

T = TypeVar("T")
# Characters of a fault that are shown to the model, and of its answer that it sees again.
_MOST_FAULT, _MOST_ANSWER = 500, 20_000


async def structured(
    model: LanguageModel, prompt: Prompt, check: Callable[[object], T]
) -> tuple[T, Generated]:
    """The converted answer to a prompt with a schema, and the last call with the tokens of all calls.

    `check` gets the JSON value when it matches the schema, and raises ValueError if the value is not good
    enough. After a fault, the model is asked once more, and is shown its answer and the fault.

    Raises ModelFailed: `schema` if the second answer has a fault too, `truncated` if an answer was cut off,
    `refused` if it was withheld. Raises whatever the model raises, too.
    """
    first = await model.generate(prompt)
    try:
        return _checked(first, prompt, check), first
    except ValueError as fault:
        again = _repair(prompt, first, str(fault))
    second = await model.generate(again)
    both = msgspec.structs.replace(second, tokens=added(first.tokens, second.tokens))
    try:
        return _checked(second, prompt, check), both
    except ValueError as fault:
        raise ModelFailed(
            "schema", f"{second.model} did not answer in the required form, twice: {_cut(str(fault))}"
        ) from fault


def added(one: Tokens, other: Tokens) -> Tokens:
    """The tokens of two calls together. A figure is None if neither call tells it."""
    return Tokens(
        input=_sum(one.input, other.input),
        output=_sum(one.output, other.output),
        cached=_sum(one.cached, other.cached),
        cache_written=_sum(one.cache_written, other.cache_written),
    )


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)


def _checked(generated: Generated, prompt: Prompt, check: Callable[[object], T]) -> T:
    if generated.finish_reason == "length":
        raise ModelFailed(
            "truncated", f"{generated.model} was cut off after {prompt.max_tokens} tokens, within the answer."
        )
    if generated.finish_reason == "content_filter":
        raise ModelFailed("refused", f"{generated.model} withheld its answer.")
    value = _json(generated.text)
    _validate(value, prompt.schema or {})
    return check(value)


def _validate(value: object, schema: JsonSchema) -> None:
    """Raises ValueError if the value does not match the schema."""
    # Imported on demand, because many processes never call a model.
    from jsonschema import Draft202012Validator, ValidationError, validate  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415

    # Without a registry, jsonschema would fetch a reference that names an address.
    registry: Registry[object] = Registry()
    try:
        validate(value, schema, cls=Draft202012Validator, registry=registry)
    except ValidationError as fault:
        raise ValueError(f"{describe_fault(fault)}.") from fault
    except RecursionError as fault:
        raise ValueError("The JSON is nested too deeply.") from fault


def _json(text: str) -> object:
    """The JSON value in an answer; a fence of Markdown around it is dropped. Raises ValueError."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        text = text[3:-3].removeprefix("json").strip()
    try:
        return msgspec.json.decode(text)
    except RecursionError as fault:
        raise ValueError("The JSON is nested too deeply.") from fault


def _repair(prompt: Prompt, answer: Generated, fault: str) -> Prompt:
    told = (
        f"Your answer is not valid: {_cut(fault)}\nAnswer again with one JSON object that matches the "
        "schema, and with nothing else."
    )
    messages = [
        *prompt.messages,
        Message(role="assistant", text=answer.text[:_MOST_ANSWER] or "(empty)"),
        Message(role="user", text=told),
    ]
    return msgspec.structs.replace(prompt, messages=messages)


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_FAULT else f"{text[:_MOST_FAULT]}…"
