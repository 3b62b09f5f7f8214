"""Logs and metrics: structured lines with the request id, never a token or a signed link.

`configure` is called once per process. Every line passes `redact` after it is rendered. So the text of every
logger, every field and every traceback is redacted. The lines of answers (log_writer.py) have only ids and
names of Lapel's own, numbers of a trace, and two words of the client: its id of the request, which is
redacted, and the method, which is redacted if it is an unknown one.

Source of the files that processes share: "Multiprocess Mode", documentation of prometheus_client.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, TextIO, cast

import msgspec
import structlog
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, values
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from lapel.foundation.answer_times import AllAnswerTimes
from lapel.foundation.core.request_id import REQUEST_ID, client_ids
from lapel.foundation.log_writer import (
    LogWriter,
    RequestLine,
    format_line,
    json_lines,
    may_block,
    write_to_pipe,
)
from lapel.foundation.outages import OUTAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.core import Metric
    from structlog.typing import EventDict, Processor, WrappedLogger

    from lapel.declared_settings import LogFormat, LogLevel
    from lapel.foundation.answer_times import AnswerTimes
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.http.protocols import NamedCall
    from lapel.foundation.log_writer import Line, WrittenLine

METRICS_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def _secret(word: str, rest: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    """The pattern of a secret that begins with `word` (letters and `_`). The word is group 1.

    No letter or digit stands before the word, except as the end of an escaped character: lines are redacted
    after they are rendered, so a newline is then `\\n`, and in a path a space is `%20`. The pattern tests
    this behind the word. At its front, each place of a line would be tested, which takes five times as long.
    """
    escaped = (r"\\[bfnrt]", r"\\x[0-9a-f]{2}", r"\\u[0-9a-f]{4}", "%[0-9A-Fa-f]{2}")
    before = ("(?<![A-Za-z0-9]", *(f"(?<={each}" for each in escaped))
    begins = "|".join(f"{each}.{{{len(word)}}})" for each in before)
    return re.compile(f"({word})(?:{begins}){rest}", flags)


_TOKENS = ("sk_live", "sk_test", "rk_live", "rk_test", "dtok", "eut")
_SECRETS = (
    *((_secret(word, "_[A-Za-z0-9]{8,}"), r"\1_***") for word in _TOKENS),
    # `up` is also a word: behind an underscore, as in `set_up_completed`, only a whole token is a secret.
    (_secret("up", "_(?:(?<!_up_)[A-Za-z0-9]{8,}|[A-Za-z0-9]{38,})"), r"\1_***"),
    (_secret("whsec", "_[A-Za-z0-9+/=]{8,}"), r"\1_***"),
    *(
        (_secret(word, r"\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), r"\1 ***")
        for word in ("bearer", "basic")
    ),
    # A signed link gives access to its object, so its whole query is removed.
    (re.compile(r"(?i)\?[^\s\"'<>\\]*X-Amz-(?:Signature|Credential|Security-Token)[^\s\"'<>\\]*"), "?***"),
    (re.compile(r"(?i)(X-Amz-(?:Signature|Security-Token)=)[^\s\"'<>&\\]+"), r"\1***"),
    (_secret("postgres", r"((?:ql)?://[^\s:/@]*:)[^\s\"']+@"), r"\1\2***@"),
)


ANSWERS = AllAnswerTimes()
"""The times of all answers of this process."""
# Of the answers that have no line each: for each operation and status, the first one is logged, and then one
# in this many, if a second has passed since the last one.
_SAMPLE = 100
_SAMPLE_SECONDS = 1.0
_requests_log: structlog.stdlib.BoundLogger = structlog.get_logger("lapel.requests")
_requests_logger = logging.getLogger("lapel.requests")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_REFUSALS = frozenset((501, 505))  # the fault is the client's: a coding or a version that is not served
_handler: _LogHandler | None = None


def redact(text: str) -> str:
    """`text` without tokens, webhook secrets, signatures and passwords."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def configure(
    level: LogLevel, form: LogFormat, process: str, target: TextIO | None = None, *, waits: bool = True
) -> None:
    """Sends all logging of this process to `target` (default: stderr), one line per message. In JSON, a
    traceback is part of the line. `process` names the process in every line: api, worker, store,
    supervisor, command. waits: whether it may wait for a pipe that takes nothing; a server must not."""
    global _handler  # noqa: PLW0603 - logging is one for the process
    stream = target or sys.stderr
    console = form == "console" or (form == "auto" and stream.isatty())

    def stamp(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["process"] = process
        request_id = REQUEST_ID.get()
        if request_id is not None:
            event["request_id"] = request_id
            trace_id, parent_id, client_request_id = client_ids()
            if trace_id is not None:
                event["trace_id"], event["parent_id"] = trace_id, parent_id
            if client_request_id is not None:
                event["client_request_id"] = client_request_id
        return event

    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        stamp,
    ]
    ending: list[Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler = _LogHandler(stream, _renderer(ending[-1], process, console=console), waits=waits)
    handler.addFilter(_expected)
    handler.setFormatter(_Redacting(processors=[remove, *ending], foreign_pre_chain=shared))
    _handler = handler
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("lapel").setLevel(level.upper())
    # uvicorn logs a crash of the application as an error; a malformed request is only a warning.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class _LogHandler(logging.Handler):
    """Writes lines to the stream at once, or gives them to the thread that waits for a pipe.

    Lines of answers always wait for the thread. `render`: their text, and a line about those dropped.
    """

    def __init__(
        self, stream: TextIO, render: Callable[[list[Line], int], Iterable[str]], *, waits: bool
    ) -> None:
        super().__init__()
        self._stream = stream
        self._render = render
        self._direct = waits or not may_block(stream)
        self.writer = LogWriter(self._write)
        # Not the handler's own lock: logging holds that one while it waits for `flush`.
        self._writing = threading.RLock()

    def forget_parent(self) -> None:
        """In a fork: forget the locks and the lines of the parent."""
        self._writing = threading.RLock()
        self.writer.forget_parent()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of a record, or have it written."""
        try:
            line = f"{self.format(record)}\n"
            if self._direct:
                self._write_now(line)
            else:
                self.writer.add(line)
        except Exception:  # noqa: BLE001 - as every handler: a line that cannot be written stops nothing
            self.handleError(record)

    def flush(self) -> None:
        """Have the lines written that wait."""
        self.writer.flush()

    def _write(self, lines: list[Line], dropped: int, patience: float | None) -> None:
        text = "".join(self._render(lines, dropped))
        if self._direct:
            self._write_now(text)
        else:
            write_to_pipe(self._stream, text, patience)

    def _write_now(self, text: str) -> None:
        with self._writing:
            self._stream.write(text)
            self._stream.flush()


def _renderer(
    render: Processor, process: str, *, console: bool
) -> Callable[[list[Line], int], Iterator[str]]:
    """What makes the text of lines that waited."""

    def shown(fields: dict[str, object]) -> str:
        return f"{render(None, 'info', fields)}\n"

    def shown_answer(line: WrittenLine) -> str:
        fields = msgspec.structs.asdict(line)
        return shown({name: value for name, value in fields.items() if value is not None})

    def texts(lines: list[Line], dropped: int) -> Iterator[str]:
        for is_text, some in groupby(lines, lambda line: isinstance(line, str)):
            if is_text:
                yield from cast("Iterator[str]", some)
                continue
            answers = cast("Iterator[RequestLine]", some)
            made = (format_line(each, process, _requests_logger.name) for each in answers)
            yield "".join(map(shown_answer, made)) if console else json_lines(made)
        if dropped:
            at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
            told: dict[str, object] = {"lines": dropped, "event": "log.lines_dropped", "level": "warning"}
            yield shown(told | {"logger": "lapel.log", "timestamp": at, "process": process})

    return texts


def flush_log() -> None:
    """Write the lines that wait; for a second at most, if the log takes nothing."""
    if _handler is not None:
        _handler.flush()


def _forget_parent() -> None:
    if _handler is not None:
        _handler.forget_parent()


os.register_at_fork(after_in_child=_forget_parent)


# PgQueuer's, when it loses the database.
_UNWRITTEN = "Shutdown flush failed, %d items remaining"


def _expected(record: logging.LogRecord) -> bool:
    """Whether to log a record. An error that says that the database or the store is away is expected: it is
    logged once a minute, without its traceback. At level debug, everything is logged."""
    message = cast("object", record.msg)
    fields = cast("dict[str, object]", message) if isinstance(message, dict) else {}
    told = fields.get("exc_info") or record.exc_info
    if record.name == "pgqueuer" and record.msg == _UNWRITTEN:
        return OUTAGES.admit() is not None  # it has no error
    if told is True:
        told = sys.exc_info()
    error = cast("tuple[object, ...]", told)[1] if isinstance(told, tuple) else told
    if not isinstance(error, BaseException) or _requests_logger.isEnabledFor(logging.DEBUG):
        return True
    from lapel.foundation.queue.expected_faults import part_away  # noqa: PLC0415  # imports much

    part = part_away(error, of_driver=record.name == "pgqueuer")
    if part is None:
        return True
    unlogged = part.admit()
    if unlogged is None:
        return False
    if fields:
        kept = {name: value for name, value in fields.items() if name != "exc_info"}
        record.msg = kept | {"error": repr(error), "unlogged": unlogged}
    else:
        record.msg, record.args = f"{record.getMessage()}: {error!r}", ()
    record.exc_info = None
    return True


class _Redacting(structlog.stdlib.ProcessorFormatter):
    """The last formatter of every line: renders the line and redacts it."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def share_metrics(name: str) -> None:
    """Keep the metrics of this process in the files of this name in PROMETHEUS_MULTIPROC_DIR.

    No two live processes share a name. A restarted process continues its predecessor's files: no written
    count is lost, and the number of files does not grow.
    """
    values.ValueClass = values.MultiProcessValue(lambda: name)  # pyright: ignore[reportUnknownMemberType]
    # A metric without labels has had its value since it was made. No public method gives it another one.
    for each in tuple(REGISTRY._collector_to_names):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if isinstance(each, MetricWrapperBase) and not each._labelnames:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
            each._metric_init()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def observe_request(
    operation: NamedCall | None, method: str, status: int, seconds: float, actor: Actor, error: str | None
) -> None:
    """Counts one answer, and logs it if it is an error, or if `logs_each` says so. Of the others a
    sample is logged; at level debug, all are. `error`: its code.

    A status of 500 or above is a warning, but not those of `_REFUSALS`, nor 503 while the database is away.

    `method` is in the log but not in the metrics: clients choose it, and the number of metrics must not
    depend on what clients send.
    """
    name = "none" if operation is None else operation.name
    times = ANSWERS.add(name, status, seconds)
    if method not in _METHODS:
        method = redact(method[:20])
    if status >= 500 and status not in _REFUSALS and not (status == 503 and OUTAGES.is_recent()):
        _requests_log.warning(
            "request",
            operation=name,
            method=method,
            status=status,
            ms=round(seconds * 1000, 1),
            caller=actor.kind,
            caller_id=actor.id,
            error=error,
        )
        return
    logs_each = status >= 400 or (operation is not None and operation.logs_each)
    is_wanted = logs_each or (times.seen % _SAMPLE == 1 and _is_due(times))
    level = logging.INFO if is_wanted else logging.DEBUG
    if _handler is not None and _requests_logger.isEnabledFor(level):
        client = client_ids()
        if client.request_id is not None:
            client = client._replace(request_id=redact(client.request_id))
        _handler.writer.add(
            RequestLine(
                time.time(),
                name,
                method,
                status,
                round(seconds * 1000, 1),
                actor.kind,
                actor.id,
                REQUEST_ID.get(),
                error,
                "info" if is_wanted else "debug",
                client,
            )
        )


def _is_due(times: AnswerTimes) -> bool:
    """Whether no answer of this operation and status was sampled for a second."""
    now = time.monotonic()
    if now - times.logged < _SAMPLE_SECONDS:
        return False
    times.logged = now
    return True


def render_metrics() -> bytes:
    """All metrics in Prometheus' text form: of all processes of the supervisor, else of this process."""
    registry = CollectorRegistry()
    try:
        MultiProcessCollector(registry)
    except ValueError:  # PROMETHEUS_MULTIPROC_DIR is not set: we run alone
        registry = REGISTRY
    return generate_latest(registry)


class _Known(Collector):
    """Families whose values are known already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def render_families(families: Iterable[Metric]) -> bytes:
    """These families in Prometheus' text form."""
    registry = CollectorRegistry()
    registry.register(_Known(families))
    return generate_latest(registry)
