"""The log lines of one process: collected as they are made, and written by a thread.

When nobody reads a pipe, it fills up, and the next write to it waits. So no event loop writes: it only adds
a line to a bounded queue. A line that does not fit is dropped and counted. When the pipe is read again, the
log says how many lines are missing.

The thread ends when nothing waits, because the supervisor forks only while it has one thread.

Sources: pipe(7) and poll(2) of the Linux man-pages.
"""

from __future__ import annotations

import os
import select
import stat
import threading
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TextIO, TypeAlias

import msgspec
from prometheus_client import Counter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# Lines that wait, in one process: more answers than it gives in a second.
_MOST_WAITING = 20_000
_MOST_CHARACTERS = 8 * 2**20
_REQUEST_CHARACTERS = 400
# Making the line of an answer takes longer than the most frequent answers, so they are made together.
_PAUSE_SECONDS = 0.05
_LAST_SECONDS = 1.0
# POSIX: so much is written as a whole. Linux: so much can be written when poll says that a pipe is ready.
_PIECE = select.PIPE_BUF

_DROPPED = Counter(
    "lapel_log_lines_dropped", "Lines of the log that were not written, because the log took no more."
)


class RequestLine(msgspec.Struct, frozen=True):
    """One answer. `at`: seconds since 1970. `ms`: the time that it took. `client`: the trace, its parent
    and the request id that the client sent."""

    at: float
    operation: str
    method: str
    status: int
    ms: float
    caller: str
    caller_id: str | None
    request_id: str | None
    error: str | None = None
    level: Literal["info", "debug"] = "info"
    client: tuple[str | None, str | None, str | None] = (None, None, None)


Line: TypeAlias = RequestLine | str
"""The line of an answer, or another line as it is written, with its newline."""


class LogWriter:
    """The waiting lines of one process. Any thread adds them, one thread writes them in their order."""

    def __init__(self, write: Callable[[list[Line], int, float | None], None]) -> None:
        """`write` gets lines, how many more were dropped after them, and for how many seconds it may wait;
        None: without an end."""
        self._write = write
        self._forget()

    def _forget(self) -> None:
        # A signal's handler may log while this thread holds the lock.
        self._lock = threading.RLock()
        self._waiting: list[Line] = []
        self._size = 0
        self._dropped = 0
        self._runs = False
        self._hurry = threading.Event()
        self._idle = threading.Event()

    def forget_parent(self) -> None:
        """In a fork: forget the lines that the parent writes, and its thread and locks."""
        self._forget()

    def add(self, line: Line) -> None:
        """Have a line written soon. Never waits for the log."""
        size = len(line) if isinstance(line, str) else _REQUEST_CHARACTERS
        with self._lock:
            fits = len(self._waiting) < _MOST_WAITING and self._size + size <= _MOST_CHARACTERS
            if fits:
                self._waiting.append(line)
                self._size += size
            else:
                self._dropped += 1
            self._start()
        if not fits:
            _DROPPED.inc()
        elif isinstance(line, str):
            self._hurry.set()

    def flush(self, seconds: float = _LAST_SECONDS) -> None:
        """Have all lines written that wait now. Gives up after some time if the log takes nothing."""
        with self._lock:
            if not self._runs and not self._waiting:
                return
            self._start()
            runs = self._runs
        if runs:
            self._hurry.set()
            self._idle.wait(seconds)
        else:
            self._write_waiting(seconds)

    def _start(self) -> None:
        """Called with the lock. If there can be no thread now, the next line tries again."""
        if self._runs:
            return
        self._runs = True
        self._idle.clear()
        try:
            threading.Thread(target=self._run, name="log-writer", daemon=True).start()
        except RuntimeError:
            self._runs = False

    def _run(self) -> None:
        while True:
            self._hurry.wait(_PAUSE_SECONDS)
            self._hurry.clear()
            self._write_waiting(None)
            with self._lock:
                if not self._waiting:
                    self._runs = False
                    self._idle.set()
                    return

    def _write_waiting(self, patience: float | None) -> None:
        with self._lock:
            lines, self._waiting, self._size = self._waiting, [], 0
            dropped, self._dropped = self._dropped, 0
        try:
            self._write(lines, dropped, patience)
        except Exception:  # noqa: BLE001 - whatever keeps these lines from being written, the next ones go on
            _DROPPED.inc(len(lines))
            with self._lock:
                self._dropped += len(lines) + dropped


def may_block(stream: TextIO) -> bool:
    """Whether the stream is a pipe or socket, which takes nothing while its reader reads nothing."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # no descriptor, or a closed one
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def write_to_pipe(stream: TextIO, text: str, patience: float | None) -> None:
    """Writes whole lines to the descriptor of the stream, past its buffer: a thread that waits with the lock
    of that buffer would keep Python from ending.

    Raises TimeoutError when the pipe does not take all within `patience` seconds (None: waits without an
    end), OSError when its reader is gone, and ValueError when the stream is closed.
    """
    ready = select.poll()
    ready.register(stream.fileno(), select.POLLOUT)
    ends = None if patience is None else time.monotonic() + patience
    for piece in _pieces(text.encode("utf-8", "backslashreplace")):
        left = memoryview(piece)
        while left:
            if not ready.poll(None if ends is None else max(0.0, ends - time.monotonic()) * 1000):
                raise TimeoutError("the log takes nothing")
            try:
                written = os.write(stream.fileno(), left if ends is None else left[:_PIECE])
            except BlockingIOError:  # another process filled it, and made it non-blocking
                continue
            left = left[written:]


def _pieces(text: bytes) -> Iterator[bytes]:
    """The lines, as many together as are written as a whole beside the lines of other processes."""
    piece = b""
    for line in text.splitlines(keepends=True):
        if piece and len(piece) + len(line) > _PIECE:
            yield piece
            piece = b""
        piece += line
    if piece:
        yield piece


class WrittenLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line with the fields of all other lines of the log."""

    operation: str
    method: str
    status: int
    ms: float
    caller: str
    caller_id: str | None
    event: str
    level: str
    logger: str
    timestamp: str
    process: str
    request_id: str | None
    error: str | None = None
    trace_id: str | None = None
    parent_id: str | None = None
    client_request_id: str | None = None


def format_line(line: RequestLine, process: str, logger: str) -> WrittenLine:
    """The line with what is the same for all lines of a process."""
    second = int(line.at)
    return WrittenLine(
        line.operation,
        line.method,
        line.status,
        line.ms,
        line.caller,
        line.caller_id,
        "request",
        line.level,
        logger,
        f"{_second(second)}.{int((line.at - second) * 1_000_000):06d}Z",
        process,
        line.request_id,
        line.error,
        *line.client,
    )


@lru_cache(maxsize=2)
def _second(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}"


def json_lines(lines: Iterable[WrittenLine]) -> str:
    """The lines as JSON, each with a newline at its end."""
    return msgspec.json.Encoder().encode_lines(lines).decode()
