"""`lapel events resend`: has the server deliver an event to webhooks again."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

import msgspec
from cyclopts import Parameter

from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.http_client import NoAnswer, request
from lapel.cli.shared.options import DataDir, Json, emit
from lapel.cli.shared.server import Key, Project, Url, server_access, unanswered

_KEY_LIVES = timedelta(minutes=10)
_TIMEOUT = 30.0  # seconds
_ID = re.compile(r"evt_[A-Za-z0-9]{1,64}\Z")


class Resent(msgspec.Struct, frozen=True):
    """The webhooks that get the event again."""

    event_id: str
    webhook_ids: list[str]


class _ErrorMessage(msgspec.Struct):
    message: str


class _ResendRefusal(msgspec.Struct):
    error: _ErrorMessage


def resend(
    event_id: Annotated[str, Parameter(help="Id of the event, evt_….")],
    /,
    *,
    webhook: Annotated[
        str | None,
        Parameter(help="Id of one webhook, wh_…. Default: all that have subscribed to the event's type."),
    ] = None,
    url: Url = None,
    key: Key = None,
    project: Project = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Deliver an event to webhooks again, with the same bytes, whatever became of an earlier delivery.

    Status 1 when no webhook gets the event.

    For example:

        lapel events resend evt_…
        lapel events resend evt_… --webhook wh_… --json
    """
    if not _ID.match(event_id):
        raise CommandError("the id of an event begins with evt_; `lapel events tail` shows ids.")
    with server_access(
        url, key, project, data_dir, scopes=["webhooks:write"], name="lapel events resend", lives=_KEY_LIVES
    ) as access:
        body = {} if webhook is None else {"webhook_id": webhook}
        done = _post(f"{access.base_url()}/v1/events/{event_id}/resend", access.key, body)
    if done.webhook_ids or json:
        emit(done, json, lambda: f"{event_id} is delivered again to {', '.join(done.webhook_ids)}")
    if not done.webhook_ids:
        raise CommandError(
            f"{event_id} is not delivered again: no enabled webhook has subscribed to its type. `--webhook` "
            "names a webhook that gets it without a subscription."
        )


def _post(url: str, key: str, body: dict[str, str]) -> Resent:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        answer = request("POST", url, headers, msgspec.json.encode(body), timeout=_TIMEOUT)
    except NoAnswer as fault:
        raise unanswered(fault) from fault
    try:
        if answer.status == 202:
            return msgspec.json.decode(answer.body, type=Resent)
        message = msgspec.json.decode(answer.body, type=_ResendRefusal).error.message
    except msgspec.DecodeError as fault:
        raise CommandError(f"the server answers {answer.status}; is this a Lapel server?") from fault
    raise CommandError(f"not delivered again ({answer.status}): {message}")
