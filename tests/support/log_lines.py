"""The lines that a process of the server writes to its log."""

from __future__ import annotations

import io
import logging
from collections.abc import Generator
from contextlib import contextmanager

import structlog

from lapel.foundation import telemetry


@contextmanager
def logged_lines() -> Generator[io.StringIO]:
    """What is logged within the block at any level, as JSON, one line a message."""
    root, ours = logging.getLogger(), logging.getLogger("lapel")
    before = root.handlers, root.level, ours.level
    stream = io.StringIO()
    telemetry.configure("debug", "json", "api", stream)
    try:
        yield stream
    finally:
        root.handlers, root.level = before[:2]
        ours.setLevel(before[2])
        structlog.reset_defaults()
