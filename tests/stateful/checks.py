"""What must hold after every step: the server shows the model's world, to those who may see it."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from tests.stateful.answers import NOT_FOUND, NOTHING_UPLOADED, UNAUTHORIZED
from tests.stateful.background import Background
from tests.stateful.caller import Caller, answered
from tests.stateful.model import Media, Recording, World, sha256
from tests.support.patience import Deadline
from tests.support.tenants import Tenant

LEAVING = """
SELECT resource_id AS id FROM erasures WHERE world_id = $1 AND resource_type = 'end_user' AND NOT entered
UNION ALL SELECT id FROM events WHERE world_id = $1 AND erased
"""
EVENTS = "SELECT type, resource_id, count(*) FROM events WHERE world_id = $1 GROUP BY type, resource_id"
HELD = "SELECT count(*) FROM jobs.pgqueuer WHERE status = 'failed'"


class Checks:
    """Compares the server with the model; remembers what must not change any more."""

    def __init__(
        self, served: Background, call: Caller, tenant: Tenant, stranger: Tenant, world: World
    ) -> None:
        self._served = served
        self._call = call
        self._tenant = tenant
        self._world = world
        # Neither another project nor the other world of this one may see anything.
        self._outsiders = (stranger.test_key, stranger.live_key, tenant.live_key)
        self._fixed: dict[tuple[str, str], object] = {}

    def lists(self) -> None:
        """Every list is the model's, newest first, for everybody who may see it."""
        world, call, token = self._world, self._call, self._tenant.test_key
        self._listed("/recordings", token, list(world.recordings))
        self._listed("/end-users", token, list(world.end_users))
        self.devices()
        for outsider in self._outsiders:
            self._listed("/recordings", outsider, [])
        for key_token, key in world.keys.items():
            if not key.works or not key.may("recordings:read"):
                continue
            own = [one for one, each in world.recordings.items() if key.end_user in (None, each.end_user)]
            self._listed("/recordings", key_token, own)
        assert call("GET", "/end-users", self._outsiders[0]).json()["data"] == []

    def devices(self) -> None:
        """The list of devices, and how many there are."""
        token, ids = self._tenant.test_key, list(self._world.devices)
        self._listed("/devices", token, ids)
        stats = self._call("GET", "/devices/stats", token).json()
        assert (stats["total_count"], [each["id"] for each in stats["data"]]) == (len(ids), ids[::-1])

    def _listed(self, path: str, token: str, ids: list[str]) -> None:
        found = self._call("GET", f"{path}?limit=100", token).json()["data"]
        assert [each["id"] for each in found] == ids[::-1], path
        if path == "/recordings":
            for each in found:
                self._shows(each, self._world.recordings[each["id"]])

    def walks(self) -> None:
        """Pages and filters show the same as the whole list."""
        world, token = self._world, self._tenant.test_key
        found: list[str] = []
        query = "limit=2"
        while True:
            page = self._call("GET", f"/recordings?{query}", token).json()
            found += [each["id"] for each in page["data"]]
            if not page["has_more"]:
                break
            query = f"limit=2&cursor={page['next_cursor']}"
        assert found == list(world.recordings)[::-1]
        for status in ("pending", "uploaded", "integrity_failure"):
            page = self._call("GET", f"/recordings?limit=100&status={status}", token).json()
            assert [each["id"] for each in page["data"]] == [
                one for one, each in reversed(world.recordings.items()) if each.status == status
            ]

    def recording(self, recording_id: str) -> None:
        """GET shows the model; the links serve the promised bytes, or say that there are none."""
        token, path = self._tenant.test_key, f"/recordings/{recording_id}"
        shown = self._call("GET", path, token)
        assert shown.status_code == 200, shown.text
        recording = self._world.recordings[recording_id]
        self._shows(shown.json(), recording)
        for media_id, media in recording.media.items():
            asked = self._call("POST", f"{path}/download-url", token, {"media_id": media_id})
            if media.status != "uploaded":
                assert answered(asked) == NOTHING_UPLOADED
                continue
            assert asked.status_code == 200, asked.text
            self._serves(asked.json(), media)
            if media.type == "audio":
                self._serves(self._call("GET", f"{path}/download-url", token).json(), media)
        for outsider in self._outsiders:
            assert answered(self._call("GET", path, outsider)) == NOT_FOUND
            media_id = next(iter(recording.media), "med_none")
            body = {"media_id": media_id}
            assert answered(self._call("POST", f"{path}/download-url", outsider, body)) == NOT_FOUND

    def _serves(self, link: dict[str, Any], media: Media) -> None:
        content = media.content or b""
        assert (link["content_type"], link["file_size_bytes"]) == (media.content_type, len(content))
        got = self._call.get(link["download_url"])
        assert got.status_code == 200
        assert got.content == content
        assert got.headers["content-type"] == media.content_type

    def _shows(self, shown: dict[str, Any], recording: Recording) -> None:
        audio = recording.audio
        kept = audio if audio is not None and audio.status == "uploaded" else None
        facts: tuple[object, ...] = (None, None, None, None, None)
        if kept is not None and kept.content is not None:
            seconds = None if kept.duration_ms is None else kept.duration_ms // 1000
            facts = (len(kept.content), sha256(kept.content), kept.content_type, kept.duration_ms, seconds)
        expected = {
            "project_id": self._tenant.project_id,
            "end_user_id": recording.end_user,
            "device_id": recording.device,
            "name": recording.name,
            "metadata": recording.metadata,
            "status": recording.status,
            "recording_uuid": recording.uuid,
            "deleted_at": None,
        }
        names = ("file_size_bytes", "content_sha256", "mime_type", "duration_ms", "duration_seconds")
        expected |= dict(zip(names, facts, strict=True))
        assert {name: shown[name] for name in expected} == expected
        assert (shown["uploaded_at"] is not None) == (recording.status == "uploaded")
        assert (shown["content_sha256_verified_at"] is not None) == (kept is not None)
        self._never_changes(shown, "created_at", "uploaded_at", "content_sha256_verified_at", "source")
        assert [each["id"] for each in shown["media"]] == list(recording.media)
        for each in shown["media"]:
            media = recording.media[each["id"]]
            content = media.content
            assert (each["type"], each["mime_type"], each["status"]) == (
                media.type,
                media.content_type,
                media.status,
            )
            assert each["file_size_bytes"] == (None if content is None else len(content))
            assert each["sha256"] == (None if content is None else sha256(content))
            self._never_changes(each, "created_at")

    def _never_changes(self, shown: dict[str, Any], *names: str) -> None:
        for name in names:
            if shown[name] is not None:
                assert self._fixed.setdefault((shown["id"], name), shown[name]) == shown[name], name

    def device(self, device_id: str) -> None:
        """GET shows the model's device, in every form, and its commands."""
        token, path, device = self._tenant.test_key, f"/devices/{device_id}", self._world.devices[device_id]
        shown = self._call("GET", path, token).json()
        facts = {"name": None, "firmware_version": None, "metadata": {}} | device.facts
        expected = {
            "id": device_id,
            "serial_number": device.serial,
            "end_user_id": device.end_user,
            "binding_generation": device.generation,
            "status": "unbound" if device.end_user is None else "bound",
            "settings": device.settings,
            "deleted_at": None,
            **{name: {} if name == "metadata" and value is None else value for name, value in facts.items()},
        }
        assert {name: shown[name] for name in expected} == expected
        assert (shown["last_synced_at"] is not None) == device.synced
        self._never_changes(shown, "created_at", "model")
        older = self._call("GET", f"{path}/settings", token).json()["settings"]
        assert {
            name: value for name, value in older.items() if value or name in device.settings
        } == device.settings
        state = self._call("GET", f"{path}/state", token).json()
        assert state["binding_generation"] == device.generation
        assert state["recording"]["active"] == device.records
        told = {"battery_percent": None, "storage_used_mb": None} | device.told
        device_state = told.pop("device_state", None)
        assert {name: shown[name] for name in told} == {name: state[name] for name in told} == told
        assert (shown["recording_state"] or {"device_state": None})["device_state"] == device_state
        assert (state["last_synced_at"], state["last_synced_by"]) == (
            shown["last_synced_at"],
            None,
        )
        commands = self._call("GET", f"{path}/commands?limit=100", token).json()["data"]
        assert [(each["id"], each["type"], each["status"], each["end_user_id"]) for each in commands] == [
            (one, each.kind, each.status, each.end_user) for one, each in reversed(device.commands.items())
        ]

    def no_outsider_sees(self, device_id: str) -> None:
        """Of another project or world it is 404."""
        for outsider in self._outsiders:
            assert answered(self._call("GET", f"/devices/{device_id}", outsider)) == NOT_FOUND

    def no_device(self, device_id: str) -> None:
        """A deleted device is 404 everywhere."""
        token, path = self._tenant.test_key, f"/devices/{device_id}"
        for method, action, body in (
            ("GET", "", None),
            ("PATCH", "", {"name": "x"}),
            ("DELETE", "", None),
            ("GET", "/state", None),
            ("GET", "/settings", None),
            ("GET", "/commands", None),
            ("POST", "/commands", {"type": "trigger_upload"}),
            ("POST", "/unbind", None),
        ):
            assert answered(self._call(method, path + action, token, body)) == NOT_FOUND, (method, action)

    def gone(self, recording_id: str) -> None:
        """A deleted recording is 404 everywhere."""
        token, path = self._tenant.test_key, f"/recordings/{recording_id}"
        for method, action, body in (
            ("GET", "", None),
            ("PATCH", "", {"name": "x"}),
            ("DELETE", "", None),
            ("POST", "/upload-url", {}),
            ("POST", "/upload-complete", {}),
            ("POST", "/download-url", {"media_id": "med_1"}),
        ):
            assert answered(self._call(method, path + action, token, body)) == NOT_FOUND

    def dead(self, token: str) -> None:
        """A revoked token is 401."""
        assert answered(self._call("GET", "/recordings", token)) == UNAUTHORIZED

    def events(self) -> None:
        """Every event exactly once, and none of what was erased."""
        deadline = Deadline(30)
        while self._served.query(LEAVING, self._tenant.test_world) and not deadline.has_passed():
            time.sleep(0.01)  # a worker deletes the rows of an end user, and of hidden events
        rows = self._served.query(EVENTS, self._tenant.test_world)
        found = Counter({(kind, of): number for kind, of, number in rows if kind != "recording.failed"})
        assert found == self._world.events
        for kind, recording_id, number in rows:
            if kind == "recording.failed":
                recording = self._world.recordings[recording_id]
                refused = [a for media in recording.media.values() for a in media.attempts if not a.open]
                assert 1 <= number <= len(refused)

    def queue(self) -> None:
        """No job was given up."""
        assert self._served.query(HELD) == [(0,)]
