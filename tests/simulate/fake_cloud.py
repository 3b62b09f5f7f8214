"""A cloud that takes an encrypted upload as the contract says, and that can be told to misbehave."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web

from lapel.slices.encrypted_uploads.documents import (
    digests,
    hpke,
    manifest,
    receipt,
    signatures,
    upload_authorization,
)
from lapel.slices.encrypted_uploads.documents.receipt import Receipt
from lapel.slices.encrypted_uploads.documents.upload_authorization import Authorization

SERIAL = "SIM-1"
GENERATION = 3
_OF_THE_BINDING = ("staging-url", "manifest", "recover", "cancel")
MISSING = "encrypted_upload_v2_staging_missing"
Answer = dict[str, Any]


def refused(status: int, code: str) -> web.Response:
    return web.json_response({"error": {"code": code}}, status=status)


class FakeCloud:
    """`calls`: what was called, in order. `forced`: what replaces the next answers of a call: a status, or
    `lost` (done, and the connection closed). `spoil`: changes an answer of a call before it is sent."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.bodies: list[tuple[str, Answer]] = []
        self.forced: defaultdict[str, list[int | str]] = defaultdict(list)
        self.spoil: dict[str, Callable[[Answer], object]] = {}
        self.signing = signatures.private_key(bytes(31) + b"\x07")
        self.now = 1_800_000_000.0
        self.lifetime = 3600
        self.policy_revision = 1
        self.change_authorization: dict[str, Any] = {}
        self.change_receipt: dict[str, Any] = {}
        self.recordings: list[tuple[str, str]] = []
        self.sessions: dict[str, Answer] = {}
        self.staged: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.keys: dict[str, bytes] = {}
        self.polls = 2
        self.generation = GENERATION
        self.url = ""

    @property
    def public_key(self) -> bytes:
        return signatures.public_raw(self.signing.public_key())

    async def find(self, _device_id: str, started_at: str) -> str | None:
        self.calls.append("find")
        return next((each for each, began in self.recordings if began == started_at), None)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.removeprefix("/v1").strip("/").split("/")
        body: Answer = {}
        if request.method in ("POST", "DELETE"):
            body = json.loads(await request.read())
        name = self._name(request.method, parts)
        self.calls.append(name)
        self.bodies.append((name, body))
        forced = self.forced[name].pop(0) if self.forced[name] else None
        if isinstance(forced, int):
            return web.Response(status=forced, headers={"Location": "/v1/elsewhere"}, text="{}")
        if name in _OF_THE_BINDING and self._is_of_an_earlier_binding(parts[4]):
            answer = refused(409, "conflict")
        elif name == "put":
            answer = await self._put(request, parts)
        else:
            assert request.headers["Authorization"] == "Bearer token"
            answer = getattr(self, "_" + name.replace("-", "_"))(parts, body)
        if forced == "lost":
            assert request.transport is not None
            request.transport.abort()
        if isinstance(answer, web.StreamResponse):
            return answer
        status, content = answer
        changed = self.spoil.get(name, lambda each: each)(content)
        return web.Response(
            status=status,
            body=changed if isinstance(changed, bytes) else json.dumps(changed).encode(),
            content_type="application/json",
        )

    def _is_of_an_earlier_binding(self, session_id: str) -> bool:
        return self.sessions[session_id]["body"]["binding_generation"] != self.generation

    @staticmethod
    def _name(method: str, parts: list[str]) -> str:
        if method == "PUT":
            return "put"
        if method == "DELETE":
            return "cancel"
        return "session" if method == "GET" else parts[-1]

    def _recordings(self, _parts: list[str], body: Answer) -> tuple[int, Answer]:
        assert set(body) == {"device_id", "end_user_id", "upload_method", "streaming", "metadata"}
        assert (body["upload_method"], body["streaming"]) == ("ble", False)
        self.recordings.append((f"rec_{len(self.recordings)}", body["metadata"]["started_at"]))
        return 201, {"id": self.recordings[-1][0], "name": None}

    def _sessions(self, parts: list[str], body: Answer) -> tuple[int, Answer]:
        for each in self.sessions.values():
            if each["body"] == body and each["state"] not in ("failed", "cancelled"):
                return 200, self._shown(each)
        return 201, self._shown(self.make(parts[1], body, body["auth_nonce_base64"], 1))

    def _recover(self, parts: list[str], body: Answer) -> web.Response | tuple[int, Answer]:
        old = self.sessions[parts[4]]
        request = {**body, "of": parts[4]}
        for each in self.sessions.values():
            if each.get("request") == request:
                return 200, self._shown(each)
        if old["state"] != "staging":
            return refused(409, "conflict")
        old["state"] = "cancelled"
        made = self.make(parts[1], old["body"], body["auth_nonce_base64"], old["revision"] + 1)
        made["request"] = request
        return 201, self._shown(made)

    def _cancel(self, parts: list[str], body: Answer) -> web.Response:
        session = self.sessions[parts[4]]
        if session["revision"] != body["owner_revision"] or session["id"] in self.manifests:
            return refused(409, "conflict")
        session["state"] = "cancelled"
        return web.Response(status=204)

    def _session(self, parts: list[str], _body: Answer) -> tuple[int, Answer]:
        session = self.sessions[parts[4]]
        if session["id"] in self.manifests:
            session["looks"] += 1
            session["state"] = "published" if session["looks"] >= self.polls else "processing"
        return 200, self._shown(session)

    def _staging_url(self, parts: list[str], body: Answer) -> web.Response | tuple[int, Answer]:
        session = self.sessions[parts[4]]
        if session["state"] != "staging" or body != {"owner_revision": session["revision"]}:
            return refused(409, "conflict")
        return 200, self._staging(session)

    async def _put(self, request: web.Request, parts: list[str]) -> web.Response:
        data = await request.read()
        session = self.sessions[parts[1]]
        expected = self._staging(session)["headers"]
        assert {name: request.headers.get(name) for name in expected} == expected
        assert request.content_length == len(data) == session["body"]["ciphertext_length"]
        assert hashlib.sha256(data).hexdigest() == session["body"]["ciphertext_sha256"]
        assert "Authorization" not in request.headers
        self.staged[session["id"]] = data
        return web.Response(status=200)

    def _manifest(self, parts: list[str], body: Answer) -> web.Response | tuple[int, Answer]:
        session = self.sessions[parts[4]]
        data = base64.b64decode(body["manifest_base64"], validate=True)
        if body["owner_revision"] != session["revision"] or session["state"] == "cancelled":
            return refused(409, "conflict")
        if hashlib.sha256(data).hexdigest() != body["manifest_sha256"]:
            return refused(400, "invalid_request")
        if self.manifests.get(session["id"], data) != data:
            return refused(409, "conflict")
        if session["id"] not in self.staged:
            return refused(409, MISSING)
        key = manifest.open_key(data, self.keys[session["id"]], session["authorization"])
        manifest.verify_tag(data, key)
        manifest.check(manifest.parse(data), session["authorization"])
        self.manifests[session["id"]] = data
        state = "published" if session["state"] == "published" else "ready"
        if state == "ready":
            session["state"] = state
        return 200 if state == "published" else 202, {
            "session_id": session["id"],
            "owner_revision": session["revision"],
            "state": state,
        }

    def make(self, recording: str, body: Answer, nonce: str, revision: int) -> Answer:
        number, private = uuid4(), hpke.new_private_key()
        fields: dict[str, Any] = {
            "environment": 2,
            "policy": 0,
            "channel_mask": 7,
            "flags": 7 if revision == 1 else 15,
            "owner_revision": revision,
            "binding_generation": body["binding_generation"],
            "recording_generation": body["recording_generation"],
            "signing_key_id": 1,
            "policy_revision": self.policy_revision,
            "issued_at": int(self.now),
            "expires_at": int(self.now) + self.lifetime,
            "minimum_length": body["ciphertext_length"],
            "maximum_length": body["ciphertext_length"],
            "session_uuid": number,
            "recipient_key_uuid": uuid4(),
            "recording_uuid": UUID(body["recording_uuid"]),
            "device_nonce": base64.b64decode(nonce),
            "recipient_public_key": hpke.public_key(private),
            "tenant": digests.tenant("org", "project"),
            "device": digests.device_identity(SERIAL),
            "configuration": digests.configuration(b"{}"),
            "staging": digests.staging_object(number, "bucket", str(number)),
            "ciphertext_sha256": bytes.fromhex(body["ciphertext_sha256"]),
        }
        issued = Authorization(**{**fields, **self.change_authorization})
        session: Answer = {
            "id": str(number),
            "recording": recording,
            "revision": revision,
            "state": "staging",
            "looks": 0,
            "body": body,
            "expires": issued.expires_at,
            "issued": issued,
            "authorization": upload_authorization.encode(issued, self.signing),
        }
        self.keys[str(number)] = private
        self.sessions[str(number)] = session
        return session

    def _staging(self, session: Answer) -> Answer:
        digest = base64.b64encode(bytes.fromhex(session["body"]["ciphertext_sha256"])).decode()
        headers = {"Content-Type": "application/octet-stream", "x-amz-checksum-sha256": digest}
        return {"method": "PUT", "url": f"{self.url}/store/{session['id']}", "headers": headers}

    def _shown(self, session: Answer) -> Answer:
        document: bytes = session["authorization"]
        is_expired = session["state"] == "staging" and session["expires"] <= self.now
        shown: Answer = {
            "profile": "encrypted_upload_v2",
            "session_id": session["id"],
            "owner_revision": session["revision"],
            "state": "expired" if is_expired else session["state"],
            "channel": session["body"]["channel"],
            "policy": "legacy_allowed",
            "recording_id": session["recording"],
            "device_id": session["body"]["device_id"],
            "end_user_id": "eu_1",
            "project_id": "proj_1",
            "ciphertext_length": session["body"]["ciphertext_length"],
            "ciphertext_sha256": session["body"]["ciphertext_sha256"],
            "authorization_base64": base64.b64encode(document).decode(),
            "authorization_sha256": hashlib.sha256(document).hexdigest(),
            "expires_at": _time(session["expires"]),
        }
        if shown["state"] == "staging":
            shown["staging"] = self._staging(session)
        if session["state"] == "published":
            proof = session.setdefault("receipt", self._receipt(session))
            shown["published_at"] = _time(self.now)
            shown["plaintext_length"] = manifest.parse(self.manifests[session["id"]]).plaintext_length
            shown["completion_receipt_base64"] = base64.b64encode(proof).decode()
            shown["completion_receipt_sha256"] = hashlib.sha256(proof).hexdigest()
        return shown

    def _receipt(self, session: Answer) -> bytes:
        issued: Authorization = session["issued"]
        sent = manifest.parse(self.manifests[session["id"]])
        fields: dict[str, Any] = {
            "environment": issued.environment,
            "owner_revision": issued.owner_revision,
            "binding_generation": issued.binding_generation,
            "recording_generation": issued.recording_generation,
            "signing_key_id": 1,
            "issued_at": int(self.now),
            "expires_at": int(self.now) + self.lifetime,
            "session_uuid": issued.session_uuid,
            "recording_uuid": issued.recording_uuid,
            "tenant": issued.tenant,
            "device": issued.device,
            "ciphertext_sha256": issued.ciphertext_sha256,
            "plaintext_sha256": sent.plaintext_sha256,
            "publication": bytes(32),
            "configuration": issued.configuration,
        }
        return receipt.encode(Receipt(**{**fields, **self.change_receipt}), self.signing)


def _time(seconds: float) -> str:
    shown = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return shown.replace("+00:00", "Z")


@asynccontextmanager
async def fake_cloud() -> AsyncGenerator[FakeCloud]:
    """A cloud on a port of its own, until the block ends."""
    cloud = FakeCloud()
    app = web.Application(client_max_size=1 << 20)
    app.router.add_route("*", "/{path:.*}", cloud.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        cloud.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield cloud
    finally:
        await runner.cleanup()
