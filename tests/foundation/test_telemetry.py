"""What is logged and counted, and what must never be."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from lapel.foundation import telemetry
from lapel.foundation.answer_times import AllAnswerTimes
from lapel.foundation.core.actors import ANONYMOUS, Actor
from lapel.foundation.core.base62 import ALPHABET
from lapel.foundation.core.request_id import REQUEST_ID
from lapel.foundation.identity.tokens import new_token
from lapel.foundation.log_writer import Line, LogWriter, RequestLine
from lapel.foundation.outages import OUTAGES
from tests.support.declared import ID_PREFIXES, TOKEN_PREFIXES, declared_operations
from tests.support.log_lines import logged_lines

LINK = (
    "https://h/lapel/media/a?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK%2F20260101&X-Amz-Date=1"
    "&X-Amz-Signature=0123456789abcdef"
)


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    with logged_lines() as stream:
        yield stream


def test_a_line_is_json_with_process_level_and_request_id(lines: io.StringIO) -> None:
    token = REQUEST_ID.set("req_1")
    structlog.get_logger("lapel.x").info("thing.done", count=3)
    REQUEST_ID.reset(token)
    structlog.get_logger("lapel.x").info("thing.done")
    first, second = map(json.loads, lines.getvalue().splitlines())
    assert first["event"] == "thing.done"
    assert (first["count"], first["process"], first["level"]) == (3, "api", "info")
    assert first["request_id"] == "req_1"
    assert first["timestamp"].endswith("Z")
    assert "request_id" not in second


@pytest.mark.parametrize("prefix", TOKEN_PREFIXES)
def test_tokens_never_reach_the_log(lines: io.StringIO, prefix: str) -> None:
    secret = new_token(prefix)
    log = structlog.get_logger("lapel.x")
    log.info(secret, field=secret, nested={"list": [secret]})
    logging.getLogger("other.library").warning("header Authorization: Bearer %s", secret)
    log.error("failed", exc_info=RuntimeError(f"bad {secret}"))
    written = lines.getvalue()
    assert len(written.splitlines()) == 3
    assert secret.rpartition("_")[2] not in written
    assert f"{prefix}_***" in written


# What may stand directly before a token: a word and an underscore, or a character as a path, JSON or Python's
# repr writes it.
BEFORE = st.sampled_from(
    ["", " ", "=", '"', "/", "_", "x_", "key_", "rec_", "K9_", "%20", "%3d", r"\n", r"\u001b", r"\x1b"]
)


@given(BEFORE, st.sampled_from(TOKEN_PREFIXES), st.text(ALPHABET, min_size=38, max_size=38))
def test_no_part_of_a_token_stays_whatever_stands_before_it(before: str, prefix: str, body: str) -> None:
    assert telemetry.redact(f"GET {before}{prefix}_{body} 404") == f"GET {before}{prefix}_*** 404"


@given(
    BEFORE,
    st.sampled_from(["sk_live", "sk_test", "rk_live", "rk_test", "eut", "dtok", "whsec"]),
    st.text(ALPHABET, min_size=8, max_size=50),
)
def test_no_part_of_a_cut_token_stays_either(before: str, prefix: str, body: str) -> None:
    assert telemetry.redact(f"{before}{prefix}_{body}") == f"{before}{prefix}_***"


@given(BEFORE, st.sampled_from(ID_PREFIXES), st.text(ALPHABET, min_size=24, max_size=24))
def test_ids_stay(before: str, prefix: str, body: str) -> None:
    text = f"{before}{prefix}_{body}"
    assert telemetry.redact(text) == text


@given(st.text(alphabet="abcXYZ019+/=", min_size=8, max_size=60))
def test_no_part_of_a_webhook_secret_stays(body: str) -> None:
    assert telemetry.redact(f"x whsec_{body} y") == "x whsec_*** y"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"GET {LINK} 200", "GET https://h/lapel/media/a?*** 200"),
        (json.dumps({"url": LINK, "next": 1}), '{"url": "https://h/lapel/media/a?***", "next": 1}'),
        ("X-Amz-Security-Token=abc/def&x=1", "X-Amz-Security-Token=***&x=1"),
        ("postgresql://u:p@ss@h/db", "postgresql://u:***@h/db"),
        ("postgresql://lapel@/lapel?host=/run/x", "postgresql://lapel@/lapel?host=/run/x"),
        ("up_to_date up_link rec_0VvPabcdefgh", "up_to_date up_link rec_0VvPabcdefgh"),
        ("set_up_completed task_test_recordings", "set_up_completed task_test_recordings"),
        (r'{"event": "lost:\nBearer abc123/xyz"}', r'{"event": "lost:\nBearer ***"}'),
        (r"'\npostgresql://u:p@ss@h/db'", r"'\npostgresql://u:***@h/db'"),
    ],
)
def test_redaction_takes_secrets_and_leaves_the_rest(text: str, shown: str) -> None:
    assert telemetry.redact(text) == shown


def test_answers_are_counted_by_operation_and_status_only(
    lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OUTAGES, "_noticed", None)  # by a test before
    monkeypatch.setattr(telemetry, "ANSWERS", AllAnswerTimes())
    counted = re.compile(r'lapel_http_request_seconds_count\{operation="none",status="404"\} ([0-9.]+)')
    before = counted.search(telemetry.render_metrics().decode())
    telemetry.observe_request(None, "BREW" * 100, 404, 0.002, ANONYMOUS, None)
    telemetry.observe_request(None, "GET", 503, 0.2, ANONYMOUS, None)
    telemetry.flush_log()
    text = telemetry.render_metrics().decode()
    after = counted.search(text)
    assert after is not None
    assert float(after[1]) == (float(before[1]) if before else 0) + 1
    assert "BREW" not in text
    levels = [json.loads(line)["level"] for line in lines.getvalue().splitlines()]
    assert sorted(levels) == ["info", "warning"]


CALLER = Actor(kind="key", id="key_1", world_id=1, project_id="proj_1", mode="test")
BY_NAME = {each.name: each for each in declared_operations()}


def answered(lines: io.StringIO) -> list[dict[str, object]]:
    """The lines about answers since the last call, without those of level debug."""
    telemetry.flush_log()
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    lines.seek(0)
    lines.truncate()
    return [each for each in found if each["event"] == "request" and each["level"] != "debug"]


def answer(name: str, status: int = 200, *, times: int = 1, error: str | None = None) -> None:
    operation = BY_NAME[name]
    for _ in range(times):
        telemetry.observe_request(operation, operation.method, status, 0.001, CALLER, error)


def test_of_many_equal_reads_a_sample_is_logged(lines: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in a hundred, and one a second at most."""
    now = 1000.0
    monkeypatch.setattr(
        telemetry, "time", SimpleNamespace(monotonic=lambda: now, time=lambda: 1_700_000_000.5)
    )
    monkeypatch.setattr(telemetry, "ANSWERS", AllAnswerTimes())

    def logged_of(answers: int) -> list[dict[str, object]]:
        answer("list_recordings", times=answers)
        return answered(lines)

    assert [each["caller_id"] for each in logged_of(250)] == ["key_1"]
    now += 0.9
    assert logged_of(200) == []
    now += 0.2
    assert len(logged_of(100)) == 1
    now += 60.0
    assert logged_of(50) == []
    assert len(logged_of(1)) == 1


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("create_recording", 201),
        ("delete_end_user", 204),
        ("create_download_url", 200),
        ("get_download_url", 200),
        ("create_upload_url", 200),
        ("export_transcription", 200),
        ("export_end_user", 200),
        ("list_recordings", 400),
        ("get_recording", 404),
        ("send_heartbeat", 401),
        ("get_health", 503),
    ],
)
def test_each_write_link_export_and_error_has_its_line(
    lines: io.StringIO, monkeypatch: pytest.MonkeyPatch, name: str, status: int
) -> None:
    monkeypatch.setattr(OUTAGES, "_noticed", None)
    answered(lines)
    for number in range(20):
        token = REQUEST_ID.set(f"req_{number}")
        answer(name, status, error="a_code" if status >= 400 else None)
        REQUEST_ID.reset(token)
    found = answered(lines)
    assert [each["request_id"] for each in found] == [f"req_{number}" for number in range(20)]
    for each in found:
        assert (each["operation"], each["status"], each["caller_id"]) == (name, status, "key_1")
        assert each.get("error") == ("a_code" if status >= 400 else None)


@pytest.mark.parametrize("name", ["get_recording", "list_devices", "send_heartbeat", "get_openapi"])
def test_reads_and_heartbeats_have_no_line_each(lines: io.StringIO, name: str) -> None:
    answer(name, times=50)
    assert len(answered(lines)) <= 1


def test_a_line_of_an_answer_has_the_fields_of_all_lines(lines: io.StringIO) -> None:
    token = REQUEST_ID.set("req_1")
    structlog.get_logger("lapel.requests").info("thing.done")
    other = json.loads(lines.getvalue())
    answered(lines)
    answer("create_recording", 201)
    REQUEST_ID.reset(token)
    (mine,) = answered(lines)
    assert {**other, "event": "request", "timestamp": ""}.items() <= {**mine, "timestamp": ""}.items()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", str(mine["timestamp"]))
    assert other["timestamp"] <= mine["timestamp"]


def test_lines_are_written_soon_and_a_log_that_takes_nothing_stops_no_answer() -> None:
    taken, go = threading.Event(), threading.Event()
    written: list[Line] = []

    def write(some: list[Line], _dropped: int, _patience: float | None) -> None:
        taken.set()
        assert go.wait(30)
        written.extend(some)

    requests = LogWriter(write)
    line = RequestLine(1.0, "get_recording", "GET", 404, 1.0, "key", None, "req_1")
    requests.add(line)
    assert taken.wait(30)
    for _ in range(50_000):
        requests.add(line)
    go.set()
    requests.flush(30)
    assert 10_000 < len(written) < 50_000
    assert "lapel_log_lines_dropped_total" in telemetry.render_metrics().decode()


def test_a_log_that_fails_once_does_not_end_the_lines() -> None:
    written = threading.Event()
    fails = [True]

    def write(_some: list[Line], _dropped: int, _patience: float | None) -> None:
        if fails.pop() if fails else False:
            raise MemoryError
        written.set()

    requests = LogWriter(write)
    line = RequestLine(1.0, "get_recording", "GET", 404, 1.0, "key", None, "req_1")
    requests.add(line)
    while fails:
        time.sleep(0.01)
    requests.add(line)
    assert written.wait(30)


def test_console_lines_are_for_people() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers, root.level
    telemetry.configure("info", "console", "worker", stream)
    structlog.get_logger("lapel.y").info("hello", key=new_token("sk_test"))
    root.handlers, root.level = before
    structlog.reset_defaults()
    assert "hello" in stream.getvalue()
    assert "sk_test_***" in stream.getvalue()
