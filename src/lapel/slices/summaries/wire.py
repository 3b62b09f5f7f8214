"""The contract's structs of summaries and templates."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import msgspec

from lapel.foundation.http.input.fields import Count, JsonObject, Timestamp
from lapel.foundation.http.input.pagination import PageQuery

# The names that a client may ask for. `local`: this installation itself.
Slot: TypeAlias = Literal["gemini", "openai", "claude", "local"]
# The states of a summary, in order; the last two are final.
Status: TypeAlias = Literal["pending", "processing", "completed", "failed"]
# Whether the configuration or a client asked for a summary.
Origin: TypeAlias = Literal["auto", "request"]
Code: TypeAlias = Literal["processing_error", "provider_error", "transcript_too_short", "template_not_found"]
WarningCode: TypeAlias = Literal["empty_field", "unsupported_entries_left_out"]
# The built-in templates as answers name them.
TemplateName: TypeAlias = Literal["general_notes", "sales_call", "clinical_soap", "legal_memo"]

LEAST_PROMPT = 10

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Template = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=128,
        description="An id, such as `tmpl_general_notes`, or the name of a built-in template.",
        examples=["general_notes"],
    ),
]
_OlderName = Annotated[
    str, msgspec.Meta(min_length=1, max_length=128, description="The same as `template_id`.")
]
_Prompt = Annotated[
    str,
    # The service counts the least length, in UTF-16 units.
    msgspec.Meta(
        max_length=10_000,
        extra_json_schema={"minLength": LEAST_PROMPT},
        description='What to write, instead of a template. The output is `{"content": Markdown}`, or the '
        "JSON object that the prompt describes.",
    ),
]
Output: TypeAlias = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
# No control characters and line breaks, and at least one visible character.
_Name = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=128,
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*"
        r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
        r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z",
        examples=["Site visit"],
    ),
]
_Description = Annotated[str, msgspec.Meta(max_length=1_000)]
_Instructions = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=10_000,
        description="What to write into the fields.",
        examples=["Summarize the visit for the site manager."],
    ),
]
_EXAMPLE: JsonObject = {
    "type": "object",
    "properties": {"defects": {"type": "array", "items": {"type": "string"}}},
    "required": ["defects"],
}
_Schema = Annotated[
    dict[str, Any],
    msgspec.Meta(
        description="The JSON Schema of the output: an object with named properties.", examples=[_EXAMPLE]
    ),
]


class SummaryError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a summary failed."""

    code: Code
    message: str


class SummaryWarning(msgspec.Struct, frozen=True, kw_only=True):
    """What is missing in a summary. `field`: of `empty_field`, the name of the field, with the names of the
    fields around it, such as `vitals.pulse`. `count`: of `unsupported_entries_left_out`, how many entries."""

    code: WarningCode
    message: str
    field: str | msgspec.UnsetType = msgspec.UNSET
    count: Count | msgspec.UnsetType = msgspec.UNSET


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a transcript says, in short, or how far the work on it is.

    `provider` is the slot that was asked for, and `model` what did the work: `extractive` means sentences of
    the transcript. `output` is null until the summary is completed. `output.evidence` has the times in the
    recording on which each entry rests. `template` is null for a template of the project. `warnings` says
    what a completed summary lacks.
    """

    id: str
    project_id: str
    recording_id: str
    transcription_id: str
    status: Status
    template_id: str | None
    template: TemplateName | None
    template_version: int | None
    custom_prompt: str | None
    provider: Slot
    model: str | None
    output: Output | None
    warnings: list[SummaryWarning]
    error: SummaryError | None
    error_message: str | None
    started_at: Timestamp | None
    completed_at: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp


class SummaryPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of summaries, newest first."""

    data: list[Summary]
    has_more: bool
    next_cursor: str | None


class CreateSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What to summarize, and how: with a template or with a prompt."""

    # `json_rules` is part of the OpenAPI document.
    json_rules: ClassVar[dict[str, Any]] = {
        "anyOf": [{"required": ["template_id"]}, {"required": ["template"]}, {"required": ["prompt"]}]
    }

    transcription_id: _Id
    template_id: _Template | None = None
    template: _OlderName | None = None
    prompt: _Prompt | None = None
    provider: Slot | None = None


class SummaryQuery(PageQuery, frozen=True, kw_only=True):
    """How to list summaries."""

    transcription_id: str | None = None
    recording_id: str | None = None


class SummaryTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """What a summary has. Each change makes a new version, and a summary keeps the version that made it."""

    id: str
    project_id: str
    name: str
    description: str | None
    instructions: str
    schema: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
    version: int
    built_in: bool
    created_at: Timestamp
    updated_at: Timestamp


class SummaryTemplatePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of templates, newest first; the built-in templates come last."""

    data: list[SummaryTemplate]
    has_more: bool
    next_cursor: str | None


class CreateSummaryTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """A template of the project."""

    name: _Name
    description: _Description | None = None
    instructions: _Instructions
    schema: _Schema


class UpdateSummaryTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a template. Absent fields stay."""

    name: _Name | msgspec.UnsetType = msgspec.UNSET
    description: _Description | msgspec.UnsetType | None = msgspec.UNSET
    instructions: _Instructions | msgspec.UnsetType = msgspec.UNSET
    schema: _Schema | msgspec.UnsetType = msgspec.UNSET
