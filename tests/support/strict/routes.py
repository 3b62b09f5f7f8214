"""The object with which each route of the contract answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.support.strict import (
    asking,
    configuration,
    devices,
    firmware,
    people,
    recordings,
    sealed_uploads,
    summaries,
    webhooks,
)
from tests.support.strict.events import EVENT
from tests.support.strict.lists import page
from tests.support.strict.shapes import Shape, json_object
from tests.support.strict.transcriptions import transcription

Query = Mapping[str, str]
Choice = Callable[[re.Match[str], Query], Shape]
_ID = r"[A-Za-z0-9_]+"


@dataclass(frozen=True, slots=True)
class Route:
    """`shape` gives, from path and query, the shape of a 2xx answer."""

    methods: frozenset[str]
    path: re.Pattern[str]
    statuses: frozenset[int]
    shape: Choice


def _limit(query: Query) -> int:
    return int(float(query.get("limit") or 20))  # 1.0 is an integer, as in JSON


def _one(shape: Shape) -> Choice:
    return lambda _path, _query: shape


def _page(row: Shape) -> Choice:
    return lambda _path, query: page(row, _limit(query))


def _wanted(query: Query) -> set[str]:
    return set(query.get("include", "").split(","))


def _one_transcription(_path: re.Match[str], query: Query) -> Shape:
    return transcription(segments=True, words="words" in _wanted(query))


def _transcriptions(_path: re.Match[str], query: Query) -> Shape:
    wanted = _wanted(query)
    row = transcription(segments=bool(wanted & {"segments", "words"}), words="words" in wanted)
    return page(row, _limit(query))


def _releases(_path: re.Match[str], query: Query) -> Shape:
    # Releases for one device come without pages (section 15); all releases of the world are a list (section
    # 4).
    return firmware.RELEASES if query.get("device_id") else page(firmware.RELEASE, _limit(query))


def _section(asked: str) -> Choice:
    return lambda path, _query: configuration.resolved(path["section"], asked)


def _route(methods: str, path: str, statuses: str, shape: Choice) -> Route:
    named = path.replace("{section}", r"(?P<section>[a-z_]+)").replace("{uuid}", "[0-9a-f-]{36}")
    pattern = named.replace("{}", _ID)
    numbers = frozenset(map(int, statuses.split()))
    return Route(frozenset(methods.split()), re.compile(pattern), numbers, shape)


_SESSIONS = "/v1/recordings/{}/encrypted-upload-v2/sessions"
_PENDING = page(devices.COMMAND, 10_000, newest_first=False)

# The first match counts, so fixed words of a path come before ids.
ROUTES = (
    _route("GET", "/health", "200", _one(people.HEALTHY)),
    _route("GET", "/health", "503", _one(people.UNHEALTHY)),
    _route("GET", "/v1/events", "200", _page(EVENT)),
    _route("GET", "/v1/events/evt_{}", "200", _one(EVENT)),
    _route("POST", "/v1/end-users", "201", _one(people.END_USER)),
    _route("GET", "/v1/end-users", "200", _page(people.END_USER)),
    _route("GET PATCH", "/v1/end-users/{}", "200", _one(people.END_USER)),
    _route("POST", "/v1/end-users/{}/token", "201", _one(people.END_USER_TOKEN)),
    _route("GET", "/v1/devices/stats", "200", _one(devices.STATS)),
    _route("POST", "/v1/devices", "200 201", _one(devices.DEVICE)),
    _route("GET", "/v1/devices", "200", _page(devices.DEVICE)),
    _route("GET PATCH", "/v1/devices/{}", "200", _one(devices.DEVICE)),
    _route("GET", "/v1/devices/{}/state", "200", _one(devices.STATE)),
    _route("GET PUT PATCH", "/v1/devices/{}/settings", "200", _one(devices.SETTINGS)),
    _route("POST", "/v1/devices/{}/bind", "200", _one(devices.BOUND)),
    _route("POST", "/v1/devices/{}/unbind", "200", _one(devices.DEVICE)),
    _route("POST", "/v1/devices/{}/token/refresh", "200", _one(devices.TOKEN)),
    _route("POST", "/v1/devices/{}/heartbeat", "200", _one(devices.HEARTBEAT)),
    _route("POST", "/v1/devices/{}/commands", "200 201", _one(devices.COMMAND)),
    _route("GET", "/v1/devices/{}/commands", "200", _page(devices.COMMAND)),
    _route("GET", "/v1/devices/{}/commands/pending", "200", _one(_PENDING)),
    _route("GET DELETE", "/v1/devices/{}/commands/{}", "200", _one(devices.COMMAND)),
    _route("POST", "/v1/devices/{}/commands/{}/ack", "200", _one(devices.COMMAND)),
    _route("POST", "/v1/devices/{}/wifi-config/grant", "200", _one(devices.GRANT)),
    _route("POST", "/v1/firmware-releases", "201", _one(firmware.RELEASE)),
    _route("GET", "/v1/firmware-releases", "200", _releases),
    _route("GET", "/v1/firmware-releases/{}", "200", _one(firmware.RELEASE)),
    _route("POST", "/v1/firmware-releases/{}/release", "200", _one(firmware.RELEASE)),
    _route("GET", "/v1/firmware-releases/{}/download-url", "200", _one(firmware.DOWNLOAD_URL)),
    _route("GET", "/v1/devices/{}/ota", "200", _one(firmware.ASSIGNED)),
    _route("POST", "/v1/devices/{}/ota", "201", _one(firmware.ASSIGNMENT)),
    _route("GET", "/v1/devices/{}/ota/history", "200", _one(firmware.HISTORY)),
    _route("GET", "/v1/config/schema", "200", _one(configuration.definitions)),
    _route(
        "GET", "/v1/config/schema/{section}", "200",
        lambda path, _query: configuration.definition(path["section"]),
    ),
    _route("GET", "/v1/config", "200", _one(configuration.all_resolved("project"))),
    _route("GET", "/v1/end-users/{}/config", "200", _one(configuration.all_resolved("end_user"))),
    _route("GET", "/v1/devices/{}/config", "200", _one(configuration.all_resolved("device"))),
    _route("GET PATCH", "/v1/config/{section}", "200", _section("project")),
    _route("PUT", "/v1/projects/{}/config/{section}", "200", _section("project")),
    _route("GET PATCH", "/v1/end-users/{}/config/{section}", "200", _section("end_user")),
    _route("GET PATCH", "/v1/devices/{}/config/{section}", "200", _section("device")),
    _route("POST", "/v1/recordings", "200 201", _one(recordings.RECORDING)),
    _route("GET", "/v1/recordings", "200", _page(recordings.RECORDING)),
    _route("GET PATCH", "/v1/recordings/{}", "200", _one(recordings.RECORDING)),
    _route("POST", "/v1/recordings/{}/upload-url", "200", _one(recordings.UPLOAD_URL)),
    _route("POST", "/v1/recordings/{}/upload-complete", "200", _one(recordings.RECORDING)),
    _route("POST", "/v1/recordings/{}/download-url", "200", _one(recordings.DOWNLOAD_URL)),
    _route("GET", "/v1/recordings/{}/download-url", "200", _one(recordings.AUDIO_URL)),
    _route("GET", "/v1/recordings/{}/waveform", "200", _one(recordings.WAVEFORM)),
    _route("POST", _SESSIONS, "200 201", _one(sealed_uploads.BEGUN)),
    _route("GET", _SESSIONS + "/{uuid}", "200", _one(sealed_uploads.SESSION)),
    _route("POST", _SESSIONS + "/{uuid}/staging-url", "200", _one(sealed_uploads.STAGING)),
    _route("POST", _SESSIONS + "/{uuid}/manifest", "200 202", _one(sealed_uploads.ACCEPTED)),
    _route("POST", _SESSIONS + "/{uuid}/recover", "200 201", _one(sealed_uploads.BEGUN)),
    _route("POST", "/v1/transcriptions", "201", _one_transcription),
    _route("POST", "/v1/recordings/{}/transcribe", "201", _one_transcription),
    _route("GET", "/v1/transcriptions", "200", _transcriptions),
    _route("GET", "/v1/transcriptions/{}", "200", _one_transcription),
    _route("POST", "/v1/summaries", "201", _one(summaries.SUMMARY)),
    _route("GET", "/v1/summaries", "200", _page(summaries.SUMMARY)),
    _route("GET", "/v1/summaries/{}", "200", _one(summaries.SUMMARY)),
    _route("POST", "/v1/summary-templates", "201", _one(summaries.TEMPLATE)),
    _route("GET", "/v1/summary-templates", "200", _page(summaries.TEMPLATE)),
    _route("GET PATCH", "/v1/summary-templates/{}", "200", _one(summaries.TEMPLATE)),
    *(
        _route(methods, f"/v1/{noun}{path}", status, shape)
        for noun in ("webhooks", "webhook-endpoints")
        for methods, path, status, shape in (
            ("POST", "", "201", _one(webhooks.CREATED)),
            ("GET", "", "200", _page(webhooks.WEBHOOK)),
            ("GET PATCH", "/{}", "200", _one(webhooks.WEBHOOK)),
            ("POST", "/{}/rotate-secret", "200", _one(webhooks.ROTATED)),
            ("POST", "/deliveries/{}/redeliver", "202", _one(webhooks.DELIVERY)),
            ("GET", "/{}/deliveries", "200", _page(webhooks.DELIVERY)),
            ("GET", "/{}/deliveries/{}", "200", _one(webhooks.WHOLE_DELIVERY)),
            ("POST", "/{}/deliveries/{}/redeliver", "202", _one(webhooks.DELIVERY)),
            ("POST", "/{}/recover", "202", _one(webhooks.RECOVERY)),
            ("POST", "/{}/test", "202", _one(webhooks.TEST_EVENT)),
        )
    ),
    _route("POST", "/v1/ask/sessions", "201", _one(asking.created)),
    _route("GET", "/v1/ask/sessions", "200", lambda _path, query: asking.sessions(_limit(query))),
    _route("GET PATCH", "/v1/ask/sessions/{}", "200", _one(asking.SESSION)),
    _route("POST", "/v1/ask/sessions/{}/messages", "200", _one(asking.ANSWER)),
    _route(
        "GET", "/v1/ask/sessions/{}/messages", "200",
        lambda _path, query: page(asking.MESSAGE, _limit(query), newest_first=False),
    ),
    _route("GET", "/v1/usage", "200", _one(people.USAGE)),
    _route("POST", "/v1/(?:recordings|end-users)/{}/hold", "200 201", _one(json_object)),
    _route("GET", "/v1/(api-keys|audit-log|erasures|holds)", "200", _page(json_object)),
)  # fmt: skip


def shape_for(method: str, path: str, status: int, query: Query) -> tuple[Shape | None, bool]:
    """The shape of an answer, and whether the contract has the route, possibly with another 2xx status."""
    known = False
    for route in ROUTES:
        found = route.path.fullmatch(path)
        if found and method in route.methods:
            known = True
            if status in route.statuses:
                return route.shape(found, query), True
    return None, known
