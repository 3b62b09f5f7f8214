"""Schemathesis over the OpenAPI document, against the real server: what is documented holds.

LAPEL_FUZZ_EXAMPLES says how many examples each operation gets (`make test-deep`: 100). They are the same in
every run; with LAPEL_FUZZ_DRAWN=1 (`make test-deep`) each run draws its own. LAPEL_FUZZ_COVERAGE=1
(`make test-deep`) adds some 7,000 requests that walk over the limits of every schema.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, assume, settings
from schemathesis.config import SchemathesisConfig

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.http.operations import Operation
from lapel.foundation.ports import Ports
from lapel.slices.configuration.section_schemas import change_schemas
from lapel.slices.configuration.sections import SECTIONS
from lapel.slices.configuration.wire import ConfigChange
from tests.contract import sealed
from tests.contract.resources import MODEL, Resources, populate
from tests.support.client import api_client
from tests.support.declared import declared_operations, described_api
from tests.support.matrix import usual_caller
from tests.support.postgres import create_database, drop_database
from tests.support.running import running
from tests.support.schema_check import check_answer, declared_router

pytestmark = pytest.mark.draws

COVERAGE = os.environ.get("LAPEL_FUZZ_COVERAGE") == "1"
CONFIG = SchemathesisConfig.from_dict(
    {
        "phases": {"coverage": {"enabled": COVERAGE}},
        "generation": {
            "mode": "all",
            # A NUL in any string is 400 by contract (section 1), which a schema cannot say of all
            # strings at once; test_hostile.py sends them.
            "allow-x00": False,
            # We give the token that may make the call; who else may not is test_authorization.py's.
            "with-security-parameters": False,
        },
        "checks": {
            "ignored_auth": {"enabled": False},  # as above
            "positive_data_acceptance": {
                # 422: the generator came back to an Idempotency-Key with another body. 425: the
                # media's state, not the request. Both are documented answers to valid requests.
                "expected-statuses": ["2xx", "403", "404", "409", "422", "425"]
            },
            # 401, 403: the token is looked at first, and a device has nothing but itself to name.
            "negative_data_rejection": {"expected-statuses": ["400", "401", "403", "404", "415", "422"]},
        },
    }
)
DRAWN = os.environ.get("LAPEL_FUZZ_DRAWN") == "1"
EXAMPLES = int(os.environ.get("LAPEL_FUZZ_EXAMPLES", "3"))
OPERATIONS = {each.name: each for each in declared_operations()}
# The older paths of webhooks are the same operations: tests/webhooks/test_webhooks.py compares them.
ONCE = schemathesis.openapi.from_dict(described_api(), config=CONFIG).exclude(
    path_regex="^/v1/webhook-endpoints"
)
# A stream's answer has no end; tests/events has its tests.
schema = ONCE.exclude(operation_id=[each.name for each in OPERATIONS.values() if each.answer == "stream"])


@dataclass(frozen=True, slots=True)
class Served:
    """A server in a thread of its own, so that blocking clients may call it."""

    url: str
    loop: asyncio.AbstractEventLoop
    ports: Ports
    http: requests.Session

    def populate(self) -> Resources:
        """A project of the caller's own."""

        async def make() -> Resources:
            async with api_client(self.url) as client:
                return await populate(client, self.ports)

        return asyncio.run_coroutine_threadsafe(make(), self.loop).result(60)


@pytest.fixture(scope="module")
def served(postgres: EmbeddedPostgres, module_folder: Path) -> Generator[Served]:
    with ExitStack() as stack:
        url = create_database(postgres, "schemathesis", "template")
        stack.callback(drop_database, postgres, "schemathesis")
        # One connection, and no look at the environment's proxies, for some thousand calls.
        http = stack.enter_context(requests.Session())
        http.trust_env = False
        loop, stop = asyncio.new_event_loop(), asyncio.Event()
        stack.callback(loop.close)
        started: list[Served] = []
        ready = threading.Event()

        async def serve() -> None:
            async with running(module_folder, url) as live:
                started.append(Served(live.url, loop, live.ports, http))
                ready.set()
                await stop.wait()

        def run() -> None:
            try:
                loop.run_until_complete(serve())
            finally:
                ready.set()

        thread = threading.Thread(target=run)
        thread.start()
        stack.callback(thread.join)
        stack.callback(loop.call_soon_threadsafe, stop.set)
        ready.wait(60)
        yield started[0]


@pytest.fixture
def resources(served: Served) -> Resources:
    """For each operation one of everything."""
    return served.populate()


def _storable(value: Any) -> Any:
    """The first and the last days of all are times that not every language and database can hold."""
    edges = ("0001-01-0", "9999-12-3")
    return "2026-01-15T12:00:00Z" if isinstance(value, str) and value.startswith(edges) else value


def _whole(value: Any) -> Any:
    """JSON Schema takes 7.0 for an integer; the server takes it in objects alone."""
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    return int(value) if isinstance(value, float) and value == int(value) else _storable(value)


def _make_sense_of(case: Any, operation: Operation, resources: Resources) -> None:
    """Mend of a valid request what no schema can say."""
    ids = resources.ids(operation)
    case.path_parameters = {name: ids[name] for name in case.path_parameters or {}}
    # A cursor is opaque: one that no list gave is 400.
    case.query = {name: _storable(value) for name, value in (case.query or {}).items() if name != "cursor"}
    # A day of the calendar. Strict clients, which send only what is declared, are in test_unknown_input.py.
    given = {name: value for name, value in (case.headers or {}).items() if name != "Lapel-Strict"}
    case.headers = given | ({"Bota-Version": "2026-01-15"} if "Bota-Version" in given else {})
    if "types" in case.query:  # of events that there are
        case.query["types"] = "recording.*"
    if operation.name == "create_recording" and not isinstance(case.body, dict):
        case.media_type, case.body = "application/json", {}
    if isinstance(case.body, dict):
        # A field that the operation does not declare is ignored, whatever it means elsewhere.
        declared = _declared_fields(operation, ids)
        drawn = _in_single_units(_whole(case.body))
        more = {name: value for name, value in drawn.items() if name not in declared}
        if operation.body is ConfigChange:  # it refuses the fields of other sections
            more = {}
        body = {name: value for name, value in drawn.items() if name in declared}
        case.body = more | _sensible_body(body, operation, resources)


def _declared_fields(operation: Operation, ids: dict[str, str]) -> set[str]:
    """The names of the fields in the operation's body, with those of its files."""
    if operation.body is ConfigChange:  # the path names the section, and only its fields are taken
        return set(change_schemas(SECTIONS[ids["section"]]))
    fields = {each.encode_name for each in msgspec.structs.fields(operation.body)}
    return fields | {each.name for each in operation.files}


def _sensible_body(body: dict[str, Any], operation: Operation, resources: Resources) -> dict[str, Any]:
    """A body of declared fields, with what no schema can say of them."""
    ids = resources.ids(operation)
    body = {**body, **{name: ids[name] for name in body if name in ids}}
    if operation.name in ("create_recording", "search_recordings"):
        body["end_user_id"] = ids["end_user_id"]  # a key must say; a device's token knows
        together = ("recording_uuid", "recording_generation")  # both of them, or neither
        if None in map(body.get, together):
            body = {name: value for name, value in body.items() if name not in together}
    # The end comes after the start, also when one of them was set before.
    body = {name: value for name, value in body.items() if name != "ended_at"}
    if isinstance(body.get("file_size_bytes"), int):  # the server's own limits, which are settings
        body["file_size_bytes"] = min(body["file_size_bytes"], 2**20)
    body = _of_summary(_of_webhook(body))
    if isinstance(body.get("title"), str):  # trimmed first, and then 1 to 200 characters
        body["title"] = body["title"].strip()[:200].strip() or "x"
    if "language" in body:  # one that the model knows
        body["language"] = "en"
    if "expires_at" in body:  # in the future
        body["expires_at"] = "2222-01-15T12:00:00.000Z"
    if operation.name == "create_rollout":  # the release's own
        body["model"] = MODEL
    good = sealed.body_of(operation.name, resources) or {}  # no schema can describe documents
    body |= {name: good[name] for name in sealed.DOCUMENTS if name in body}
    if operation.files:  # what is declared of a file must be true
        body = {name: value for name, value in body.items() if not name.startswith("bin_")}
    return body


def _of_webhook(body: dict[str, Any]) -> dict[str, Any]:
    """An address that may be called, and a time before `until` and before now."""
    if "since" in body:
        return {"since": "2026-01-15T12:00:00.000Z"}
    return {**body, "url": "https://example.com/lapel"} if "url" in body else body


def _of_summary(body: dict[str, Any]) -> dict[str, Any]:
    """A template or a prompt, not both; and a schema of the keywords that are taken."""
    if "transcription_id" in body:
        rest = {name: value for name, value in body.items() if not name.startswith("template")}
        return rest if rest.get("prompt") else {**rest, "template_id": "tmpl_general_notes"}
    taken = {"type": "object", "properties": {"a": {"type": "string"}}}
    return {**body, "schema": taken} if "schema" in body else body


def _in_single_units(value: Any) -> Any:
    """The contract counts lengths in UTF-16 units, a schema in characters: those of one unit agree."""
    match value:
        case str():
            return "".join(each if each <= "\uffff" else "x" for each in value)
        case list():
            return [_in_single_units(each) for each in value]
        case dict():
            return {_in_single_units(key): _in_single_units(each) for key, each in value.items()}
        case _:
            return value


def _files_as_sent(body: dict[str, Any], operation: Operation) -> dict[str, Any]:
    """Anything in the place of a file is sent as text, which is a file's content like any other. Null is not
    sent: a form has no null."""
    files = {each.name for each in operation.files}
    return {
        name: str(value) if name in files and not isinstance(value, str | bytes) else value
        for name, value in body.items()
        if value is not None
    }


def _is_of_another_path(path: str, operation: Operation) -> bool:
    """Whether a drawn value makes it another path, as `pending` does of `commands/{command_id}`."""
    found = declared_router().find(path)
    return found is not None and operation.path not in {each.path for each in found[0].values()}


def _is_integral(text: str) -> bool:
    """Whether a number is written as 2.0 or 2e1, which the server takes for an integer."""
    try:
        return not text.removeprefix("-").isdigit() and float(text).is_integer()
    except ValueError:
        return False


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not DRAWN,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.function_scoped_fixture,
    ],
)
def test_the_server_keeps_what_the_document_says(case: Any, served: Served, resources: Resources) -> None:
    operation = OPERATIONS[case.operation.definition.raw["operationId"]]
    if operation.files and isinstance(case.body, dict):  # which may make a valid request of an invalid one
        case.body = _files_as_sent(case.body, operation)
    if case.meta.generation.mode.is_positive:
        _make_sense_of(case, operation, resources)
    headers: dict[str, str] = {}
    if not operation.access.public:
        kind = usual_caller(operation)
        headers["Authorization"] = f"Bearer {resources.token(kind, operation)}"
    # As long as `running` allows an answer to take.
    answer = case.call(base_url=served.url, headers=headers, session=served.http, timeout=60)
    sent = [(name, value) for name, values in answer.headers.items() for value in values]
    path, _, query = answer.request.path_url.partition("?")
    check_answer(answer.request.method, path, answer.status_code, sent, answer.content, query)
    assume(not _is_of_another_path(path, operation))
    # An empty parameter of paging counts as absent, which no schema can say; test_unknown_input.py sends
    # them. Clients of some languages write 2 as 2.0.
    values = dict(parse_qsl(query, keep_blank_values=True))
    assume("" not in {values.get(name) for name in ("cursor", "limit", "offset")})
    assume(not any(_is_integral(values.get(name, "")) for name in ("limit", "offset")))
    case.validate_response(answer, headers=headers)


def test_a_value_that_is_a_word_of_another_path_is_recognised() -> None:
    cancel, stats = OPERATIONS["cancel_command"], OPERATIONS["get_device_stats"]
    assert _is_of_another_path("/v1/devices/0/commands/pending", cancel)
    assert not _is_of_another_path("/v1/devices/0/commands/0", cancel)
    assert not _is_of_another_path("/v1/devices/stats", stats)


def test_fields_that_mean_something_elsewhere_stay_as_they_are(resources: Resources) -> None:
    """Names of fields are among what is drawn for names that are not declared."""
    more = {"manifest_base64": None, "since": "x", "url": 1, "transcription_id": "y", "schema": 2}
    operation = OPERATIONS["assign_firmware"]
    case = ONCE[operation.path][operation.method].Case(body={"firmware_release_id": "rel_0", **more})
    _make_sense_of(case, operation, resources)
    assert case.body == {"firmware_release_id": resources.ids(operation)["firmware_release_id"], **more}
