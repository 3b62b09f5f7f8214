"""The table of the tools: each one names the operation of the API that it calls.

Contract: section 17. Developer tools are for keys, the others for end-user tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.foundation.http.authorization import KEYS

if TYPE_CHECKING:
    from lapel.foundation.core.actors import ActorKind

END_USERS: frozenset[ActorKind] = frozenset({"end_user"})


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """A line of the table. `also` says more than the operation's own description.

    `reads`: it changes nothing; None means that its operation's method decides. `hidden`: arguments that the
    tool does not take. `found_by`: an argument that may stand in place of the id, and the operation that
    lists the one resource which has it. `asks`: the operation of one question; `operation` then makes the
    session for the first question, which is its `initial_message`. `session`: the operation that shows a
    session. `leaves`: it sends something outside.
    """

    name: str
    operation: str
    callers: frozenset[ActorKind] = KEYS
    also: str = ""
    reads: bool | None = None
    hidden: frozenset[str] = frozenset()
    found_by: tuple[str, str] | None = None
    asks: str = ""
    session: str = ""
    leaves: bool = False


_OWN = frozenset({"end_user_id"})
_STREAM = frozenset({"stream"})
_ASK = (
    "`content` is the question. The answer rests on what was said in the recordings and cites where, or says "
    "that the recordings do not have it. With `session_id`, the question is one more of that session. "
    "Without it, a new session is made: about the recordings of `scope`, or about all recordings of the end "
    "user. A session keeps its recordings: another `scope` beside `session_id` is refused."
)
_LATER = "The answer comes before the work: `{}` shows when it is completed."
TABLE = (
    ToolEntry("list_end_users", "list_end_users"),
    ToolEntry(
        "get_end_user",
        "get_end_user",
        also="Give either `id` or `external_id`.",
        found_by=("external_id", "list_end_users"),
    ),
    ToolEntry("list_devices", "list_devices"),
    ToolEntry("get_device", "get_device"),
    ToolEntry("get_fleet_stats", "get_device_stats"),
    ToolEntry("list_recordings", "list_recordings"),
    ToolEntry("get_recording", "get_recording"),
    ToolEntry("create_transcription", "create_transcription", also=_LATER.format("get_transcription")),
    ToolEntry("list_transcriptions", "list_transcriptions"),
    ToolEntry("get_transcription", "get_transcription"),
    ToolEntry("create_summary", "create_summary", also=_LATER.format("get_summary")),
    ToolEntry("list_summaries", "list_summaries"),
    ToolEntry("get_summary", "get_summary"),
    ToolEntry("search_recordings", "search_recordings", reads=True),
    ToolEntry(
        "ask",
        "create_ask_session",
        also=_ASK,
        hidden=_STREAM,
        asks="create_ask_message",
        session="get_ask_session",
    ),
    ToolEntry("list_webhooks", "list_webhooks"),
    ToolEntry("trigger_webhook_event", "test_webhook", also="`id` is the webhook's id.", leaves=True),
    ToolEntry("list_my_recordings", "list_recordings", END_USERS, hidden=_OWN),
    ToolEntry("get_my_recording", "get_recording", END_USERS),
    ToolEntry("list_my_transcriptions", "list_transcriptions", END_USERS),
    ToolEntry("get_my_transcription", "get_transcription", END_USERS),
    ToolEntry("list_my_summaries", "list_summaries", END_USERS),
    ToolEntry("get_my_summary", "get_summary", END_USERS),
    ToolEntry("search_my_recordings", "search_recordings", END_USERS, reads=True, hidden=_OWN),
    ToolEntry(
        "ask_my_recordings",
        "create_ask_session",
        END_USERS,
        also=_ASK,
        hidden=_OWN | _STREAM,
        asks="create_ask_message",
        session="get_ask_session",
    ),
)
