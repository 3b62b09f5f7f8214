"""Serves the local language model of this machine to the other processes, over a private Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from lapel.foundation.workers.local_sockets import connections
from lapel.foundation.workers.socket_frames import frame_body, framed
from lapel.slices.language_models.local.generation_messages import (
    LARGEST,
    Asked,
    Away,
    Failed,
    Finished,
    TextPiece,
    Told,
)
from lapel.slices.language_models.model_failures import ModelAway, ModelFailed

if TYPE_CHECKING:
    from lapel.slices.language_models.local.local_generator import LocalGenerator

# Seconds in which a caller sends its request.
_ASKING = 10.0
_MOST_CALLERS = 256

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def serve_generator(
    generator: LocalGenerator, listener: socket.socket, stop: asyncio.Event, ready: Callable[[], None]
) -> None:
    """Answer callers on a listening Unix socket until `stop` is set; then end the model's process."""
    callers: set[asyncio.Task[None]] = set()
    accepting = asyncio.create_task(_accept(generator, listener, callers))
    ready()
    try:
        await stop.wait()
    finally:
        accepting.cancel()
        await generator.aclose()
        for task in callers:
            task.cancel()
        await asyncio.wait({accepting, *callers}, timeout=1)


async def _accept(
    generator: LocalGenerator, listener: socket.socket, callers: set[asyncio.Task[None]]
) -> None:
    async for connection in connections(listener):
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        if len(callers) >= _MOST_CALLERS:
            writer.transport.abort()
            continue
        caller = asyncio.create_task(_answer(generator, reader, writer))
        callers.add(caller)
        caller.add_done_callback(callers.discard)


async def _answer(
    generator: LocalGenerator, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        await _answer_one(generator, reader, writer)
    finally:
        writer.transport.abort()


async def _answer_one(
    generator: LocalGenerator, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        async with asyncio.timeout(_ASKING):
            asked = msgspec.msgpack.decode(await frame_body(reader, LARGEST), type=Asked)
    except (TimeoutError, OSError, asyncio.IncompleteReadError, ValueError) as fault:
        _log.warning("language_model.bad_request", error=repr(fault))
        return
    telling = asyncio.create_task(_tell(generator, asked, writer))
    # A caller sends nothing more, so this ends when it has left.
    leaving = asyncio.create_task(reader.read(1))
    try:
        await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await telling


async def _tell(generator: LocalGenerator, asked: Asked, writer: asyncio.StreamWriter) -> None:
    async with contextlib.aclosing(_told(generator, asked)) as told:
        async for each in told:
            writer.write(framed(each))
            await writer.drain()
    writer.close()
    await writer.wait_closed()


async def _told(generator: LocalGenerator, asked: Asked) -> AsyncGenerator[Told]:
    try:
        async with contextlib.aclosing(generator.stream(asked)) as answer:
            async for each in answer:
                yield TextPiece(each) if isinstance(each, str) else each
    except ModelFailed as fault:
        yield Failed(fault.code, fault.message)
    except ModelAway as fault:
        yield Away(fault.message, fault.how, fault.after)


async def stream_from(path: Path, asked: Asked) -> AsyncGenerator[str | Finished]:
    """An answer from the process that serves the model at `path`: pieces of text, then one Finished.

    Raises ModelFailed and ModelAway as LocalGenerator does, and ModelAway when the process does not answer.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(framed(asked))
        while True:
            told: Told = msgspec.msgpack.decode(await frame_body(reader, LARGEST), type=Told)
            match told:
                case TextPiece(text):
                    yield text
                case Finished() as finished:
                    yield finished
                    return
                case Failed(code, message):
                    raise ModelFailed(code, message)
                case Away(message, how, after):
                    raise ModelAway(message, how=how, after=after)
    except (OSError, asyncio.IncompleteReadError, ValueError) as fault:
        raise ModelAway(
            f"The process of the local language model does not answer ({type(fault).__name__})."
        ) from fault
    finally:
        if writer is not None:
            writer.transport.abort()
