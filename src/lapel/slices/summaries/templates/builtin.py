"""The templates that every project has."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.summaries.wire import TemplateName

if TYPE_CHECKING:
    from lapel.foundation.http.input.fields import JsonObject

# The longest text of a field, and the most entries of a list.
LONGEST_TEXT, MOST_ENTRIES = 10_000, 200
# Before every template of a project, so that the built-in templates come last in the list.
MADE_AT = datetime(2020, 1, 1, tzinfo=UTC)


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """What a summary has: the schema of its output, and instructions for the model.

    `id` is None for a prompt. `judged`: fields that hold a judgement of the model, so that their words need
    not be words of the transcript.
    """

    id: str | None
    name: str
    description: str | None
    version: int
    instructions: str
    schema: JsonObject
    judged: frozenset[str] = frozenset()


def _text(description: str, *, required: bool = False) -> JsonObject:
    return {
        "type": "string" if required else ["string", "null"],
        "minLength": 1,
        "maxLength": LONGEST_TEXT,
        "description": description,
    }


def _list(description: str) -> JsonObject:
    item = {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT}
    return {"type": "array", "items": item, "maxItems": MOST_ENTRIES, "description": description}


def closed_object(properties: JsonObject) -> JsonObject:
    """The JSON schema of an object that has all of these properties, and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_GENERAL = Template(
    id="tmpl_general_notes",
    name="general_notes",
    description="Notes of any conversation.",
    version=1,
    instructions="Write notes for a person who was not there.",
    schema=closed_object(
        {
            "overview": _text("What the conversation was about, in two to five sentences.", required=True),
            "key_points": _list("The main points, most important first."),
            "action_items": _list("What somebody has to do: who, what, and by when if it was said."),
            "participants": _list(
                "Who spoke: the label of the speaker, with the name or role if it was said."
            ),
            "decisions": _list("What was decided."),
        }
    ),
)
_SALES = Template(
    id="tmpl_sales_call",
    name="sales_call",
    description="A conversation with a customer about a sale.",
    version=1,
    instructions="Write notes of a sales call for the seller.",
    schema=closed_object(
        {
            "pain_points": _list("The problems that the customer has."),
            "budget": _text("What the customer can or wants to spend."),
            "timeline": _text("By when the customer wants to decide or to start."),
            "next_steps": _list("What was agreed to do next: who, what, by when."),
            "key_quotes": _list("Important sentences, word for word."),
            "sentiment": _text("The mood of the customer: positive, neutral, negative or mixed."),
            "deal_probability": {
                "type": ["number", "null"],
                "minimum": 0,
                "maximum": 1,
                "description": "How likely a deal is, from 0 to 1; null if nothing tells it.",
            },
        }
    ),
    judged=frozenset({"sentiment", "deal_probability"}),
)
_CLINICAL = Template(
    id="tmpl_clinical_soap",
    name="clinical_soap",
    description="A visit to a clinician, as a SOAP note.",
    version=1,
    instructions="Write a SOAP note of the visit for the patient's record. Write only what was said.",
    schema=closed_object(
        {
            "subjective": _text("What the patient tells: complaints, history, medication."),
            "objective": _text("What was examined or measured."),
            "assessment": _text("How the clinician judges it."),
            "plan": _text("What is to be done: treatment, tests, the next visit."),
        }
    ),
)
_LEGAL = Template(
    id="tmpl_legal_memo",
    name="legal_memo",
    description="A conversation about a legal matter.",
    version=1,
    instructions="Write a memo of the conversation for the file. Write only what was said.",
    schema=closed_object(
        {
            "facts": _text("What happened, as it was told."),
            "issues": _list("The legal questions."),
            "analysis": _text("How the questions were discussed."),
            "conclusion": _text("What follows, as it was said."),
            "parties_involved": _list("The persons and organizations that the matter concerns."),
        }
    ),
)
BUILT_IN: dict[str, Template] = {
    str(template.id): template for template in (_GENERAL, _SALES, _CLINICAL, _LEGAL)
}
# The name that answers show, by the id.
NAMES: dict[str, TemplateName] = {
    "tmpl_general_notes": "general_notes",
    "tmpl_sales_call": "sales_call",
    "tmpl_clinical_soap": "clinical_soap",
    "tmpl_legal_memo": "legal_memo",
}
_SHORT_NAMES = {
    "general": "tmpl_general_notes",
    "sales": "tmpl_sales_call",
    "clinical": "tmpl_clinical_soap",
    "legal": "tmpl_legal_memo",
}
_IDS = {**{name: template_id for template_id, name in NAMES.items()}, **_SHORT_NAMES}


def template_id_of(word: str) -> str:
    """The id for an id, or for a name of a built-in template; any other word is returned as it is."""
    return _IDS.get(word, word)


def of_prompt(prompt: str) -> Template:
    """The template that a custom prompt is: one field, `content`."""
    content = {"type": "string", "minLength": 1, "description": "The answer, as Markdown."}
    return Template(
        id=None,
        name="prompt",
        description=None,
        version=1,
        instructions=prompt,
        schema=closed_object({"content": content}),
    )
