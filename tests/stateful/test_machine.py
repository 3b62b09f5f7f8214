"""Random calls in random order against a whole server, compared with a small model after each of them.

LAPEL_STATEFUL_EXAMPLES says how many walks (`make test-deep`: 40), LAPEL_STATEFUL_STEPS how long
each may be. A failing walk is printed as a program, and kept in .hypothesis to be tried first.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from tests.stateful.answers import CONFLICT, NOT_FOUND, OK, REUSED, UNAUTHORIZED, Answer
from tests.stateful.background import Background, background, rolls_dice
from tests.stateful.caller import Caller, answered
from tests.stateful.device_rules import DeviceRules, some_bound
from tests.stateful.end_user_rules import EndUserRules
from tests.stateful.model import INLINE_BYTES, Attempt, Facts, Key, Recording, sha256
from tests.stateful.walk import names, numbers, picks
from tests.support.postgres import create_database

pytestmark = pytest.mark.deep

EXAMPLES = int(os.environ.get("LAPEL_STATEFUL_EXAMPLES", "3"))
STEPS = int(os.environ.get("LAPEL_STATEFUL_STEPS", "40"))
ALL = frozenset({"recordings:read", "recordings:write"})

# Few different ones, some of them of the same size, so that the right, the wrong and the same bytes
# meet; some are hashed by a job.
LARGE = INLINE_BYTES + 1
contents = st.sampled_from([b"a", b"A", b"b" * 10, b"c" * INLINE_BYTES, b"d" * LARGE, b"D" * LARGE])
types = st.sampled_from(
    [("audio", "audio/opus"), ("audio", "audio/wav"), ("image", "image/png"), ("video", "video/mp4")]
)
UUIDS = ("6f1c0d3e-0000-4000-8000-000000000001", "6f1c0d3e-0000-4000-8000-000000000002")
declarations = st.sampled_from(["", "s", "h", "sh"])  # size and hash


class Machine(EndUserRules, DeviceRules):
    """One project's test world from the first end user on."""

    # What completions were answered, over all walks.
    seen: ClassVar[Counter[Answer]] = Counter()

    @initialize()
    def begin(self) -> None:
        self.begin_world()
        self.touched: str | None = None
        self.create_end_user("zero", None)

    def somebody(self, recording_id: str, number: int, scope: str) -> tuple[str, bool]:
        """A token that might do something with a recording, and whether it may see it."""
        recording = self.world.recordings[recording_id]
        tokens = [(self.token, True)]
        if scope == "recordings:write":
            tokens += [(token, True) for token in recording.tokens]
        tokens += [
            (token, key.end_user in (None, recording.end_user))
            for token, key in self.world.keys.items()
            if key.works and key.may(scope)
        ]
        if scope == "recordings:write":
            tokens += self.wearers(recording)
        return self.pick(tokens, number)

    def wearers(self, recording: Recording) -> list[tuple[str, bool]]:
        """The devices' tokens, and whether each reaches a recording; most often that of its own device."""
        devices = self.world.devices
        known = [one for one, each in devices.items() if each.tokens.get(each.held) == "current"]
        own = [one for one in known if one == recording.device]
        return [(devices[one].held, self.world.reaches(one, recording)) for one in known + 3 * own]

    # ---- keys -------------------------------------------------------------------------------

    @rule(
        number=picks,
        scoped=st.booleans(),
        scopes=st.sampled_from([ALL, ALL - {"recordings:write"}, frozenset({"devices:read"})]),
    )
    def create_key(self, number: int, scoped: bool, scopes: frozenset[str]) -> None:
        end_user_id = self.pick(self.world.end_users, number) if scoped else None
        body = {"scopes": sorted(scopes), "end_user_id": end_user_id}
        answer = self.call("POST", "/api-keys", self.token, body)
        assert answer.status_code == 201, answer.text
        self.world.keys[answer.json()["key"]] = Key(answer.json()["id"], scopes, end_user_id)

    @precondition(lambda self: any(each.works for each in self.world.keys.values()))
    @rule(number=picks)
    def revoke_key(self, number: int) -> None:
        token, key = self.pick([item for item in self.world.keys.items() if item[1].works], number)
        assert self.call("DELETE", f"/api-keys/{key.id}", self.token).status_code == 204
        key.works = False
        self.world.dead_tokens.append(token)

    # ---- recordings -------------------------------------------------------------------------

    @rule(number=picks, name=names)
    def create_recording(self, number: int, name: str | None) -> None:
        end_user_id = self.pick(self.world.end_users, number)
        body: dict[str, Any] = {"end_user_id": end_user_id, "name": name, "metadata": {"n": number}}
        key = self.fresh()
        answer = self.call("POST", "/recordings", self.token, body, key=key)
        assert answer.status_code == 201, answer.text
        self.created(answer.json()["id"], Recording(end_user_id, None, name, body["metadata"]))
        self.stored.append(("/recordings", body, key, answer.json()["id"]))

    @some_bound
    @rule(number=picks, uuid=st.sampled_from([None, *UUIDS]))
    def create_recording_by_device(self, number: int, uuid: str | None) -> None:
        device_id, device, token = self.caller(number)
        body = {} if uuid is None else {"recording_uuid": uuid, "recording_generation": 1}
        answer = self.call("POST", "/recordings", token, body)
        if not self.used(device, token):
            assert answered(answer) == UNAUTHORIZED
            return
        known = [
            (one, each)
            for one, each in self.world.recordings.items()
            if uuid is not None and (each.device, each.uuid) == (device_id, uuid)
        ]
        if not known:
            assert answer.status_code == 201, answer.text
            assert device.end_user is not None
            made = Recording(device.end_user, device_id, None, {}, uuid=uuid, generation=device.generation)
            self.created(answer.json()["id"], made)
        elif known[0][1].end_user == device.end_user:
            assert (answer.status_code, answer.json()["id"]) == (200, known[0][0])
            known[0][1].generation = device.generation
        else:
            assert answered(answer) == CONFLICT
            assert not {"resource_id", "details", "param"} & answer.json()["error"].keys()

    @some_bound
    @precondition(lambda self: len(self.world.end_users) > 1)
    @rule(number=picks, other=picks, back=st.booleans(), content=contents)
    def hand_over(self, number: int, other: int, back: bool, content: bytes) -> None:
        """A device records, changes hands with the upload begun, and perhaps comes back."""
        device_id, device, _ = self.caller(number)
        place, first = list(self.world.devices).index(device_id), device.end_user
        self.create_recording_by_device(number, None)
        recording_id = self.touched
        assert first is not None
        second = self.pick([one for one in self.world.end_users if one != first], other)
        for wearer in (second, first) if back else (second,):
            self.unbind(place)
            self.bind(place, list(self.world.end_users).index(wearer))
            self.cannot_reach(device_id, recording_id, content)

    def cannot_reach(self, device_id: str, recording_id: str | None, content: bytes) -> None:
        """What a recording answers to a device that did not make it under its present binding."""
        device, recording = self.world.devices[device_id], self.world.recordings.get(recording_id or "")
        if recording is None or self.world.reaches(device_id, recording):
            return
        for action, body in (("upload-url", {}), ("upload-complete", {"content_sha256": sha256(content)})):
            answer = self.call("POST", f"/recordings/{recording_id}/{action}", device.held, body)
            assert answered(answer) == NOT_FOUND, answer.text

    def created(self, recording_id: str, recording: Recording) -> None:
        self.world.create(recording_id, recording)
        self.touched = recording_id

    @precondition(lambda self: self.world.recordings)
    @rule(number=picks, name=names, who=picks)
    def update_recording(self, number: int, name: str | None, who: int) -> None:
        recording_id = self.touch(number)
        recording = self.world.recordings[recording_id]
        keys = [(self.token, True)] + [
            (token, key.end_user in (None, recording.end_user))
            for token, key in self.world.keys.items()
            if key.works and key.may("recordings:write")
        ]
        token, sees = self.pick(keys, who)
        answer = self.call("PATCH", f"/recordings/{recording_id}", token, {"name": name})
        assert answered(answer) == (OK if sees else NOT_FOUND)
        if sees:
            recording.name = name

    @precondition(lambda self: self.world.recordings)
    @rule(number=picks)
    def delete_recording(self, number: int) -> None:
        recording_id = self.pick(self.world.recordings, number)
        assert self.call("DELETE", f"/recordings/{recording_id}", self.token).status_code == 204
        self.world.delete(recording_id)

    @precondition(lambda self: self.stored)
    @rule(number=picks, same=st.booleans())
    def repeat_creation(self, number: int, same: bool) -> None:
        path, body, key, created = self.pick(self.stored, number)
        sent = body if same else body | {"name": "another"}
        answer = self.call("POST", path, self.token, sent, key=key)
        if not same:
            assert answered(answer) == REUSED
        elif (
            created in self.world.recordings
            or created in self.world.end_users
            or created in self.world.devices
        ):
            assert (answer.status_code, answer.json()["id"]) == (201, created), answer.text
            assert answer.headers["idempotent-replayed"] == "true"
        else:
            assert answered(answer) == NOT_FOUND

    # ---- uploads ----------------------------------------------------------------------------

    def touch(self, number: int) -> str:
        self.touched = self.pick(self.world.recordings, number)
        assert self.touched is not None
        return self.touched

    @precondition(lambda self: self.world.recordings)
    @rule(
        number=picks, who=picks, types=types, content=contents, declared=st.sampled_from(["", "s", "h", "sh"])
    )
    def upload_url(
        self, number: int, who: int, types: tuple[str, str], content: bytes, declared: str
    ) -> None:
        recording_id = self.touch(number)
        attempt = self.ask_to_upload(recording_id, who, types, content, declared)
        # Most uploads follow at once; the others stay behind for `put`.
        if attempt is not None and number % 3:
            self.put_to(attempt, content)

    def ask_to_upload(
        self, recording_id: str, who: int, types: tuple[str, str], content: bytes, declared: str
    ) -> Attempt | None:
        recording = self.world.recordings[recording_id]
        token, sees = self.somebody(recording_id, who, "recordings:write")
        size = len(content) if "s" in declared else None
        digest = sha256(content) if "h" in declared else None
        body = {"type": types[0], "content_type": types[1], "file_size_bytes": size, "sha256": digest}
        answer = self.call("POST", f"/recordings/{recording_id}/upload-url", token, body)
        assert answered(answer) == (recording.upload_url(types[0]) if sees else NOT_FOUND), answer.text
        if answer.status_code != 200:
            return None
        got = answer.json()
        if types[0] == "audio" and recording.audio is not None:
            assert recording.media.get(got["media_id"]) is recording.audio
        attempt = Attempt(got["upload_url"], got["headers"], types[1], size, digest)
        recording.attempt(got["media_id"], types[0], attempt)
        recording.tokens.append(got["upload_token"])
        return attempt

    @precondition(lambda self: any(each.media for each in self.world.recordings.values()))
    @rule(number=picks, which=picks, content=contents)
    def put(self, number: int, which: int, content: bytes) -> None:
        """Also to old URLs, also after the promise."""
        self.touched = recording_id = self.pick(
            [one for one, each in self.world.recordings.items() if each.media], number
        )
        media = self.world.recordings[recording_id].media.values()
        self.put_to(self.pick([each for one in media for each in one.attempts], which), content)

    def put_to(self, attempt: Attempt, content: bytes) -> None:
        status = self.call.put(attempt.url, attempt.headers, content)
        if attempt.takes(content):
            assert status == 200
            attempt.content = content
        else:
            assert status in (400, 403)

    @precondition(lambda self: any(each.media for each in self.world.recordings.values()))
    @rule(
        number=picks,
        who=picks,
        content=st.none() | contents,
        seconds=st.sampled_from([None, None, 3, 4]),
        twice=st.booleans(),
    )
    def complete(
        self, number: int, who: int, content: bytes | None, seconds: int | None, twice: bool
    ) -> None:
        withs = [one for one, each in self.world.recordings.items() if each.media]
        unfinished = [one for one in withs if self.world.recordings[one].having("pending")]
        recording_id = self.touched = self.pick(unfinished or withs, number)
        if number % 2:  # what was really uploaded last, else only luck completes anything
            content = self.likely(recording_id)
        token, sees = self.somebody(recording_id, who, "recordings:write")
        for _ in range(1 + twice):
            self.complete_by(token, recording_id, Facts(content, seconds), sees)

    def complete_by(self, token: str, recording_id: str, facts: Facts, sees: bool) -> None:
        body: dict[str, Any] = {"duration_seconds": facts.seconds}
        if facts.content is not None:
            body |= {"content_sha256": sha256(facts.content), "file_size_bytes": len(facts.content)}
        answer = self.call("POST", f"/recordings/{recording_id}/upload-complete", token, body)
        expected = self.world.complete(recording_id, facts) if sees else NOT_FOUND
        assert answered(answer) == expected, answer.text
        self.seen[expected] += 1

    def likely(self, recording_id: str) -> bytes | None:
        audio = self.world.recordings[recording_id].audio
        if audio is None:
            return None
        return audio.content if audio.newest is None else audio.newest.content

    @precondition(lambda self: self.world.recordings)
    @rule(number=picks, which=types, sent=contents, said=contents)
    def upload(self, number: int, which: tuple[str, str], sent: bytes, said: bytes) -> None:
        """One whole upload, with the right facts, the wrong ones or none."""
        self.upload_to(self.touch(number), number, which, sent, said)

    def upload_to(
        self, recording_id: str, number: int, which: tuple[str, str], sent: bytes, said: bytes
    ) -> None:
        attempt = self.ask_to_upload(recording_id, 0, which, sent, "")
        if attempt is not None:
            self.put_to(attempt, sent)
        content = (said, sent, None)[number % 3]
        self.complete_by(self.token, recording_id, Facts(content), sees=True)

    @rule(number=picks, which=types, sent=contents, said=contents)
    def record(self, number: int, which: tuple[str, str], sent: bytes, said: bytes) -> None:
        """A recording from nothing to its promise, or to the refusal of it."""
        self.create_recording(number, None)
        assert self.touched is not None
        self.upload_to(self.touched, number, which, sent, said)

    # ---- what always holds --------------------------------------------------------------------

    @invariant()
    def the_server_shows_the_model(self) -> None:
        self.checks.lists()
        self.checks.events()
        if self.touched in self.world.recordings:
            self.checks.recording(self.touched)
        if self.world.deleted:
            self.checks.gone(self.world.deleted[-1])
        if self.world.dead_tokens:
            self.checks.dead(self.world.dead_tokens[-1])
        if self.at_device in self.world.devices:
            self.checks.device(self.at_device)
        if self.world.deleted_devices:
            self.checks.no_device(self.world.deleted_devices[-1])

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        for recording_id in self.world.recordings:
            self.checks.recording(recording_id)
        for recording_id in self.world.deleted:
            self.checks.gone(recording_id)
        for token in self.world.dead_tokens:
            self.checks.dead(token)
        self.end_of_devices()
        self.checks.walks()
        self.checks.queue()


@pytest.fixture
def served(postgres: EmbeddedPostgres, tmp_path: Path) -> Generator[Background]:
    url = create_database(postgres, f"stateful_{next(numbers)}", "template")
    with background(tmp_path, url, LAPEL_INLINE_HASH_BYTES=str(INLINE_BYTES)) as started:
        yield started


@rolls_dice
@pytest.mark.timeout(900)
def test_the_server_and_the_model_never_disagree(served: Background) -> None:
    Machine.served = served
    Machine.call = Caller(served.live.url)
    Machine.stranger = served.tenant()
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                print_blob=True,
                phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
                suppress_health_check=[
                    HealthCheck.too_slow,
                    HealthCheck.filter_too_much,
                    HealthCheck.data_too_large,
                ],
            ),
        )
    finally:
        Machine.call.close()
    print(f"completions: {dict(Machine.seen)}")
