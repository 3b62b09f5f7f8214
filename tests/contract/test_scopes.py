"""Which scope, or which token alone, each route of the contract asks for, in the contract's own words."""

from __future__ import annotations

import pytest

from lapel.foundation.core.actors import ActorKind
from tests.support.declared import declared_operations

# Section 7 to 9, 11, 14 and 15: `-` where no key may call.
ROUTES = """
end_users:write       POST /end-users
end_users:read        GET /end-users
end_users:read        GET /end-users/{}
end_users:write       PATCH /end-users/{}
end_users:write       DELETE /end-users/{}
end_users:write       POST /end-users/{}/token
end_users:write       POST /end-users/{}/hold
end_users:write       DELETE /end-users/{}/hold
end_users:write       DELETE /end-users/{}/token
devices:write         POST /devices
devices:read          GET /devices
devices:read          GET /devices/stats
devices:read          GET /devices/{}
devices:write         PATCH /devices/{}
devices:write         DELETE /devices/{}
devices:read          GET /devices/{}/state
devices:write         POST /devices/{}/bind
devices:write         POST /devices/{}/unbind
-                     POST /devices/{}/token/refresh
devices:write         POST /devices/{}/heartbeat
devices:write         POST /devices/{}/commands
devices:read          GET /devices/{}/commands
devices:read          GET /devices/{}/commands/{}
devices:write         DELETE /devices/{}/commands/{}
-                     GET /devices/{}/commands/pending
-                     POST /devices/{}/commands/{}/ack
devices:read          GET /devices/{}/settings
devices:write         PUT /devices/{}/settings
devices:write         PATCH /devices/{}/settings
recordings:write      POST /recordings
recordings:read       GET /recordings
recordings:read       GET /recordings/{}
recordings:read       GET /recordings/{}/waveform
recordings:write      PATCH /recordings/{}
recordings:write      DELETE /recordings/{}
recordings:write      POST /recordings/{}/hold
recordings:write      DELETE /recordings/{}/hold
recordings:write      POST /recordings/{}/upload-url
recordings:write      POST /recordings/{}/upload-complete
recordings:read       POST /recordings/{}/download-url
recordings:read       GET /recordings/{}/download-url
transcriptions:write  POST /transcriptions
transcriptions:write  POST /recordings/{}/transcribe
transcriptions:read   GET /transcriptions
transcriptions:read   GET /transcriptions/{}
transcriptions:read   GET /transcriptions/{}/export
config:read           GET /config/schema
config:read           GET /config/schema/{}
config:read           GET /config
config:read           GET /config/{}
config:write          PATCH /config/{}
config:write          DELETE /config/{}
config:read           GET /end-users/{}/config
config:read           GET /end-users/{}/config/{}
config:write          PATCH /end-users/{}/config/{}
config:write          DELETE /end-users/{}/config/{}
config:read           GET /devices/{}/config
config:read           GET /devices/{}/config/{}
config:write          PATCH /devices/{}/config/{}
config:write          DELETE /devices/{}/config/{}
config:write          PUT /projects/{}/config/{}
firmware:write        POST /firmware-releases
devices:read          GET /firmware-releases
devices:read          GET /firmware-releases/{}
devices:read          GET /firmware-releases/{}/download-url
firmware:write        POST /firmware-releases/{}/release
firmware:write        POST /firmware-releases/{}/rollouts
firmware:write        POST /devices/{}/ota
devices:read          GET /devices/{}/ota
devices:read          GET /devices/{}/ota/history
"""
WANTED = {route: scope for scope, route in (line.split(None, 1) for line in ROUTES.split("\n") if line)}


def shape(path: str) -> str:
    """A path below /v1, with every parameter as `{}`."""
    return "/".join("{}" if part.startswith("{") else part for part in path.removeprefix("/v1").split("/"))


DECLARED = {f"{each.method} {shape(each.path)}": each for each in declared_operations()}


@pytest.mark.parametrize("route", WANTED)
def test_each_route_asks_for_the_scope_that_the_contract_names(route: str) -> None:
    """That a declared scope is enforced, tests/contract/test_authorization.py shows of every operation."""
    operation = DECLARED[route]
    assert (operation.access.scope or "-") == WANTED[route]
    assert ("key" in operation.access.callers) == (WANTED[route] != "-")


def test_a_projects_key_writes_the_configuration_of_its_world_and_of_no_organization() -> None:
    writes = {route for route, each in DECLARED.items() if each.access.scope == "config:write"}
    assert writes == {route for route, scope in WANTED.items() if scope == "config:write"}
    assert not any("organization" in route for route in DECLARED)


# Every valid token may ask what it is.
ABOUT_CALLERS = "describe_caller"
# From the contract's table of tokens: the end user's own recordings, transcripts, devices and self.
END_USER_READS = {
    "recordings:read": {
        "list_recordings",
        "get_recording",
        "get_waveform",
        "create_download_url",
        "get_download_url",
        "search_recordings",
    },
    "transcriptions:read": {"list_transcriptions", "get_transcription", "export_transcription"},
    "summaries:read": {"list_summaries", "get_summary"},
    "ask:read": {"list_ask_sessions", "get_ask_session", "list_ask_messages", "stream_ask_message"},
    "end_users:read": {"list_end_users", "get_end_user"},
    "devices:read": {
        "list_devices",
        "get_device_stats",
        "get_device",
        "get_device_state",
        "get_device_settings",
        "get_device_ota",
        "list_device_ota_history",
    },
}


def test_an_end_user_token_may_call_these_reads_and_nothing_else() -> None:
    allowed = {scope: set[str]() for scope in END_USER_READS}
    for each in DECLARED.values():
        if "end_user" in each.access.callers and each.name != ABOUT_CALLERS:
            assert each.access.scope is not None
            assert each.access.end_user_keys in ("filter", "imply"), each.name
            allowed[each.access.scope].add(each.name)
    assert allowed == END_USER_READS


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            "device",
            {
                "create_recording",
                "create_upload_url",
                "complete_upload",
                "send_heartbeat",
                "refresh_device_token",
                "list_pending_commands",
                "acknowledge_command",
            },
        ),
        ("upload", {"create_upload_url", "complete_upload"}),
    ],
)
def test_a_device_token_and_an_upload_token_may_call_these_and_nothing_else(
    kind: ActorKind, names: set[str]
) -> None:
    found = {each.name for each in DECLARED.values() if kind in each.access.callers}
    assert found == {*names, ABOUT_CALLERS}


def test_who_issues_an_end_user_token_needs_every_scope_that_the_token_reads_with() -> None:
    issuing = next(each for each in DECLARED.values() if each.name == "issue_end_user_token")
    assert issuing.access.scope == "end_users:write"
    assert set(issuing.access.more_scopes) == END_USER_READS.keys()
