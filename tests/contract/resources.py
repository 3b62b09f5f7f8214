"""One of everything in a project, made over HTTP, and a good request for any operation.

A new operation is covered by the tests here on the day it is declared. Should it need a kind of
thing that nobody made yet, the tests say so: teach `populate` to make it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields
from itertools import count
from typing import Any

import httpx
import pytest

from lapel.foundation.http.calls import NoBody
from lapel.foundation.http.operations import Operation
from lapel.foundation.ports import Ports
from lapel.slices.projects.scopes import SCOPES
from tests.contract import sealed
from tests.contract.copies import Model, read_model
from tests.contract.placed import Thing, make_delivery, place_event
from tests.support.declared import described_api
from tests.support.matrix import usual_caller
from tests.support.sealed_uploads import Phone
from tests.support.spoken import complete_transcription, look_at_audio
from tests.support.summarized import complete_summary
from tests.support.tenants import Tenant, bearer, make_key, make_tenant

_NTH = count(1)
SOUND = b"OggS" + bytes(range(256))
MODEL = "bota_pin"

# The state in which an operation finds its recording or device; `plain` when not named.
_STATES = {
    "bind_device": "unbound",
    "complete_upload": "sent",
    "create_download_url": "uploaded",
    "delete_device": "unbound",
    "get_download_url": "uploaded",
    "create_transcription": "uploaded",
    "transcribe_recording": "uploaded",
    "get_waveform": "uploaded",
    "release_recording": "held",
    **sealed.STATES,
}


@dataclass(frozen=True, slots=True)
class Resources:
    """What a project's test world holds; `other_…` belong to a second end user of the same world."""

    tenant: Tenant
    end_user: Thing
    other_end_user: Thing
    held_end_user: Thing
    device: Thing
    other_device: Thing
    unbound_device: Thing
    recordings: dict[str, Thing]
    media_id: str
    transcription_id: str
    summary_id: str
    template_id: str
    key_id: str
    command_id: str
    release_id: str
    rollout_id: str
    webhook_id: str
    delivery_id: str
    # What the operations of the older paths are about, so that none of them finds it deleted.
    older_webhook_id: str
    event_id: str
    older_delivery_id: str
    other_scoped_key: str
    session_id: str
    # Of encrypted uploads: the sessions by the state of their recording, and a manifest in hexadecimal.
    upload_sessions: dict[str, str]
    manifest: str

    def ids(self, operation: Operation) -> dict[str, str]:
        """Ids by the names of path parameters and body fields."""
        state = _STATES.get(operation.name, "plain")
        device = self.unbound_device if state == "unbound" else self.device
        recording = self.recordings.get(state, self.recordings["plain"])
        older = "webhook_endpoint" in operation.name
        return {
            "end_user_id": (self.held_end_user if operation.name == "release_end_user" else self.end_user).id,
            "device_id": device.id,
            "recording_id": recording.id,
            "media_id": self.media_id,
            "transcription_id": self.transcription_id,
            "summary_id": self.summary_id,
            "template_id": self.template_id,
            "key_id": self.key_id,
            "command_id": self.command_id,
            "release_id": self.release_id,
            "firmware_release_id": self.release_id,
            "rollout_id": self.rollout_id,
            "event_id": self.event_id,
            "webhook_id": self.older_webhook_id if older else self.webhook_id,
            "delivery_id": self.older_delivery_id if older else self.delivery_id,
            "project_id": self.tenant.project_id,
            "section": "upload",
            "session_id": self.session_id,
            "upload_session_id": self.upload_sessions.get(state, ""),
        }

    def token(self, kind: str, operation: Operation) -> str:
        """The token of a kind of caller to which the operation's things belong."""
        state = _STATES.get(operation.name, "plain")
        return {
            "key": self.tenant.test_key,
            "device": self.device.token,
            "upload": self.recordings.get(state, self.recordings["plain"]).token,
            "end_user": self.end_user.token,
        }[kind]

    def foreign_token(self, kind: str, operation: Operation) -> str:
        """A token of the same kind in the same world, whose holder none of it is."""
        state = _STATES.get(operation.name, "plain")
        elsewhere = "uploaded" if state != "uploaded" else "plain"
        return {
            "key": self.other_scoped_key,
            "device": self.other_device.token,
            "upload": self.recordings[elsewhere].token,
            "end_user": self.other_end_user.token,
        }[kind]

    @property
    def tokens(self) -> list[str]:
        """All of them."""
        things = (self.end_user, self.other_end_user, self.held_end_user, self.device, self.other_device)
        own = (self.tenant.live_key, self.tenant.test_key, self.other_scoped_key)
        return [*dict.fromkeys((*own, *(each.token for each in (*things, *self.recordings.values()))))]

    @property
    def everything(self) -> set[str]:
        """All ids that only callers of this world may ever read."""
        return {
            self.end_user.id,
            self.held_end_user.id,
            self.device.id,
            self.unbound_device.id,
            self.media_id,
            self.transcription_id,
            self.summary_id,
            self.template_id,
            self.key_id,
            self.command_id,
            self.release_id,
            self.rollout_id,
            self.webhook_id,
            self.older_webhook_id,
            self.delivery_id,
            self.older_delivery_id,
            self.session_id,
            *(each.id for each in self.recordings.values()),
        }


@dataclass(frozen=True, slots=True)
class Call:
    """A request ready to be sent with any token."""

    method: str
    path: str
    body: dict[str, Any] | None
    # Whether it names something that only one end user, world or project has.
    names_things: bool
    # The same, when both worlds of the project are asked: a project is in both.
    names_things_of_a_world: bool
    # Of an operation that takes a form: its files; the text fields are the body.
    files: dict[str, tuple[str, bytes]] | None = None

    async def send(self, client: httpx.AsyncClient, authorization: str | None, **more: str) -> httpx.Response:
        """Send it with this Authorization header and `more` headers."""
        headers = more if authorization is None else {"Authorization": authorization, **more}
        if self.files is not None:
            return await client.request(
                self.method, self.path, data=self.body, files=self.files, headers=headers
            )
        return await client.request(self.method, self.path, json=self.body, headers=headers)


def call(operation: Operation, resources: Resources) -> Call:
    """A request that the operation accepts from whoever may make it."""
    ids = resources.ids(operation)
    path = operation.path
    for name in operation.parameters:
        assert name in ids, f"teach tests/contract/resources.py to make a {{{name}}} for {operation.name}"
        path = path.replace(f"{{{name}}}", ids[name])
    # Everybody has the same sections.
    things = set(operation.parameters) - {"section"}
    if operation.body is NoBody:
        return Call(operation.method, path, None, bool(things), bool(things - {"project_id"}))
    described = described_api()["paths"][operation.path][operation.method.lower()]
    (content,) = described["requestBody"]["content"].values()
    body: dict[str, Any] = dict(content["examples"]["usual"]["value"])
    fields = set(operation.body.__struct_fields__)
    # A device's own recording takes both from its token; a key names the end user.
    names = ("end_user_id", "media_id", "recording_id", "firmware_release_id", "webhook_id")
    names += ("transcription_id", "template_id")
    named = {name: ids[name] for name in names if name in fields}
    if operation.name == "create_api_key":
        named = {}
        body["scopes"] = ["recordings:read"]
    if operation.name == "create_ask_session":
        body = {"scope": {"type": "recording", "recording_id": ids["recording_id"]}}
        things.add("recording_id")
    if "webhook" in operation.name and "url" in body:  # a world has one webhook for each URL
        body["url"] = f"https://receiver.example/{next(_NTH)}"
    if operation.name == "create_rollout":
        body["model"] = MODEL
    body = sealed.body_of(operation.name, resources) or body
    things |= set(named)
    files = {each.name: (f"update{each.suffix}", b"firmware") for each in operation.files}
    return Call(
        operation.method,
        path,
        body | ({} if operation.name in sealed.STATES else named),
        bool(things),
        bool(things - {"project_id"}),
        files or None,
    )


# What further projects of a database are copied from, by its URL; None while it has one project only.
_models: dict[str, tuple[Model, Resources] | None] = {}


async def populate(client: httpx.AsyncClient, ports: Ports) -> Resources:
    """A fresh project with one of everything: made over HTTP, or a copy of one that was."""
    database = str(ports.database.dsn)
    if database not in _models:
        _models[database] = None
        return await _make(client, ports)
    found = _models[database]
    if found is not None and found[0].lasts:
        return _renamed(found[1], await found[0].copy(ports))
    made = await _make(client, ports)
    _models[database] = await read_model(ports, made.tenant, made.tokens), made
    return made


def _renamed(value: Any, values: Mapping[str, str]) -> Any:
    """The same with the ids, tokens and worlds of a copy."""
    match value:
        case str():
            return values.get(value, value)
        case int():
            return int(values[str(value)])
        case dict():
            return {name: _renamed(each, values) for name, each in value.items()}
        case _:
            names = [each.name for each in dataclass_fields(value)]
            return replace(value, **{name: _renamed(getattr(value, name), values) for name in names})


async def _make(client: httpx.AsyncClient, ports: Ports) -> Resources:
    tenant = await make_tenant(ports)
    maker = _Maker(client, tenant.headers)
    one, other, held = [await maker.end_user(name) for name in ("one", "other", "held")]
    device = await maker.device("ONE0", one.id)
    recordings = {
        state: await maker.recording(device.token, state) for state in ("plain", "sent", "uploaded", "held")
    }
    phone = Phone(client, tenant.headers, device.id, one.id, 1)
    token = recordings["plain"].token
    recordings |= {state: Thing(await phone.announce(metadata={}), token) for state in sealed.OBJECTS}
    upload_sessions, manifest = await sealed.begin(phone, {each: recordings[each].id for each in recordings})
    for path in (f"/v1/recordings/{recordings['held'].id}", f"/v1/end-users/{held.id}"):
        await maker.post(f"{path}/hold", {"reason": "Case 7"}, 201)
    key = await maker.post("/v1/api-keys", {"scopes": ["recordings:read"]}, 201)
    command = await maker.post(f"/v1/devices/{device.id}/commands", {"type": "start_recording"}, 201)
    release, rollout = await maker.firmware()
    webhook, older = [await maker.webhook() for _ in range(2)]
    uploaded = await maker.get(f"/v1/recordings/{recordings['uploaded'].id}")
    media_id = uploaded["media"][0]["id"]
    made = await maker.post("/v1/transcriptions", {"recording_id": uploaded["id"]}, 201)
    await complete_transcription(ports, tenant.test_world, made["id"])
    await look_at_audio(ports, tenant.test_world, uploaded["id"], media_id)
    summary, template = await maker.summary(made["id"])
    await complete_summary(ports, tenant.test_world, summary)
    scope = {"type": "recording", "recording_id": uploaded["id"]}
    first = {"content": "Who said good morning?"}
    answer = await maker.post("/v1/ask/sessions", {"scope": scope, "initial_message": first}, 201)
    return Resources(
        tenant=tenant,
        end_user=one,
        other_end_user=other,
        held_end_user=held,
        device=device,
        other_device=await maker.device("TWO0", other.id),
        unbound_device=await maker.device("NONE", None),
        recordings=recordings,
        media_id=media_id,
        transcription_id=made["id"],
        summary_id=summary,
        template_id=template,
        key_id=key["id"],
        command_id=command["id"],
        release_id=release,
        rollout_id=rollout,
        webhook_id=webhook,
        older_webhook_id=older,
        event_id=await place_event(ports, tenant),
        delivery_id=await make_delivery(ports, tenant, webhook),
        older_delivery_id=await make_delivery(ports, tenant, older),
        session_id=answer["session_id"],
        upload_sessions=upload_sessions,
        manifest=manifest,
        other_scoped_key=await make_key(
            ports, tenant.test_world, "rk_test", scopes=SCOPES, end_user_id=other.id
        ),
    )


@dataclass(frozen=True, slots=True)
class _Maker:
    client: httpx.AsyncClient
    headers: dict[str, str]

    async def post(self, path: str, body: dict[str, Any], status: int) -> dict[str, Any]:
        answer = await self.client.post(path, json=body, headers=self.headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def get(self, path: str) -> dict[str, Any]:
        answer = await self.client.get(path, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def end_user(self, name: str) -> Thing:
        made = await self.post("/v1/end-users", {"external_id": name}, 201)
        given = await self.post(f"/v1/end-users/{made['id']}/token", {}, 201)
        return Thing(made["id"], given["token"])

    async def device(self, serial: str, end_user_id: str | None) -> Thing:
        made = await self.post("/v1/devices", {"serial_number": serial, "model": MODEL}, 201)
        if end_user_id is None:
            return Thing(made["id"])
        bound = await self.post(f"/v1/devices/{made['id']}/bind", {"end_user_id": end_user_id}, 200)
        return Thing(made["id"], bound["device_token"])

    async def firmware(self) -> tuple[str, str]:
        """The ids of a release and of its rollout."""
        answer = await self.client.post(
            "/v1/firmware-releases",
            data={"version": "1.0.0", "model": MODEL},
            files={"bin": ("update.bin", b"firmware")},
            headers=self.headers,
        )
        assert answer.status_code == 201, answer.text
        path = f"/v1/firmware-releases/{answer.json()['id']}"
        await self.post(f"{path}/release", {}, 200)
        rollout = await self.post(f"{path}/rollouts", {"model": MODEL}, 201)
        return answer.json()["id"], rollout["id"]

    async def summary(self, transcription_id: str) -> tuple[str, str]:
        """The ids of a summary and of a template."""
        schema = {"type": "object", "properties": {"risks": {"type": "array", "items": {"type": "string"}}}}
        body = {"name": "Risks", "instructions": "Name the risks.", "schema": schema}
        template = await self.post("/v1/summary-templates", body, 201)
        body = {"transcription_id": transcription_id, "template": "general"}
        return (await self.post("/v1/summaries", body, 201))["id"], template["id"]

    async def webhook(self) -> str:
        """The id of a webhook; each has a URL of its own."""
        body = {"url": f"https://receiver.example/{next(_NTH)}", "events": ["*"]}
        return (await self.post("/v1/webhooks", body, 201))["id"]

    async def recording(self, device_token: str, state: str) -> Thing:
        """A device's recording: `plain` (an URL was asked for), `sent` (and used), or `uploaded`."""
        own = replace(self, headers=bearer(device_token))
        made = await own.post("/v1/recordings", {"name": state}, 201)
        path = f"/v1/recordings/{made['id']}"
        upload = await own.post(f"{path}/upload-url", {"content_type": "audio/ogg"}, 200)
        if state != "plain":
            sent = await self.client.put(upload["upload_url"], content=SOUND, headers=upload["headers"])
            assert sent.status_code == 200, sent.text
        if state == "uploaded":
            await own.post(f"{path}/upload-complete", {}, 200)
        return Thing(made["id"], upload["upload_token"])


def named(operations: Sequence[Operation]) -> pytest.MarkDecorator:
    """One case per operation, called by its name."""
    return pytest.mark.parametrize("operation", operations, ids=lambda each: each.name)


def bearer_of(operation: Operation, resources: Resources) -> dict[str, str]:
    """The header of a token that may call it."""
    if operation.access.public:
        return {}
    kind = usual_caller(operation)
    return {"Authorization": f"Bearer {resources.token(kind, operation)}"}
