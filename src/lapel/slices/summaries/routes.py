"""Summaries and their templates over HTTP.

A key scoped to one end user asks for, and sees, the summaries of that end user's recordings. Templates belong
to the project, so such a key does not read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.input.pagination import PageQuery
from lapel.foundation.http.routes import Routes
from lapel.slices.end_users.service import READERS
from lapel.slices.summaries.wire import (
    CreateSummary,
    CreateSummaryTemplate,
    Summary,
    SummaryPage,
    SummaryQuery,
    SummaryTemplate,
    SummaryTemplatePage,
    UpdateSummaryTemplate,
)
from lapel.slices.transcription.errors import TranscriptNotReady

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.summaries.service import Summaries
    from lapel.slices.summaries.templates.service import SummaryTemplates

_READ = Access("summaries:read", READERS, "filter")
_WRITE = Access("summaries:write", end_user_keys="filter")
_ALL = "/v1/summaries"
_ONE = f"{_ALL}/{{summary_id}}"
_TEMPLATES = "/v1/summary-templates"
_TEMPLATE = f"{_TEMPLATES}/{{template_id}}"


def operations(service: Summaries, templates: SummaryTemplates) -> tuple[Operation, ...]:
    """All routes of summaries and templates."""
    return (*_summaries(service), *_templates(templates))


def _summaries(service: Summaries) -> tuple[Operation, ...]:
    routes = Routes("Summaries", read=_READ, write=_WRITE)
    return (
        routes.post(_ALL, "create_summary", Summary, CreateSummary).stored(
            "Summarize a transcription",
            lambda call: service.create(call.connection, call.actor, call.body),
            "Give `template_id` (or `template`), or `prompt`, but not both. Without `provider`, the provider "
            "in the configuration writes; if none is configured, `gemini`. A completed summary replaces "
            "older summaries of the same transcription and template: lists leave those out, but they stay "
            "readable by id. 409 while the transcription is not completed. To learn the result, read the new "
            "summary again, or wait for the event `summary.completed` or `summary.failed`.",
            status=201,
            errors=(TranscriptNotReady,),
            replay=lambda call, stored: service.replayed(call.actor, stored),
            audit="summary.created",
        ),
        routes.get(_ALL, "list_summaries", SummaryPage, SummaryQuery).plain(
            "List summaries",
            lambda call: service.list(call.actor, call.query),
            "Newest first.",
            sized=lambda call: service.size_of_list(call.actor, call.query),
        ),
        routes.get(_ONE, "get_summary", Summary).plain(
            "Get a summary",
            lambda call: service.read(call.actor, call.id),
            sized=lambda call: service.size(call.actor, call.id),
        ),
    )


def _templates(service: SummaryTemplates) -> tuple[Operation, ...]:
    routes = Routes("Summaries", read=Access("summaries:read"), write=Access("summaries:write"))
    return (
        routes.post(_TEMPLATES, "create_summary_template", SummaryTemplate, CreateSummaryTemplate).stored(
            "Create a template",
            lambda call: service.create(call.connection, call.actor, call.body),
            "`schema` is the JSON Schema of the output: an object, at most four levels deep, with the types, "
            "`properties`, `required`, `items`, `enum`, `const`, lengths and bounds. References and patterns "
            "are refused. A project has at most 1,000 templates in each world.",
            status=201,
            errors=(Conflict,),
            replay=lambda call, stored: service.replayed(call.actor, stored),
            audit="summary_template.created",
        ),
        routes.get(_TEMPLATES, "list_summary_templates", SummaryTemplatePage, PageQuery).plain(
            "List templates",
            lambda call: service.list(call.actor, call.query),
            "Newest first. The built-in templates come last.",
            sized=lambda call: service.size_of_list(call.actor, call.query),
        ),
        routes.get(_TEMPLATE, "get_summary_template", SummaryTemplate).plain(
            "Get a template", lambda call: service.read(call.actor, call.id)
        ),
        routes.patch(_TEMPLATE, "update_summary_template", SummaryTemplate, UpdateSummaryTemplate).plain(
            "Change a template",
            lambda call: service.update(call.actor, call.id, call.body),
            "Absent fields stay. Each change makes a new version. Summaries that are being made keep the "
            "version that they began with. 409 for a built-in template.",
            errors=(Conflict,),
            audit="summary_template.updated",
        ),
        routes.delete(_TEMPLATE, "delete_summary_template").plain(
            "Delete a template",
            lambda call: service.delete(call.actor, call.id),
            "Summaries that are being made with it fail with `template_not_found`; finished summaries stay. "
            "409 for a built-in template.",
            errors=(Conflict,),
            audit="summary_template.deleted",
        ),
    )
