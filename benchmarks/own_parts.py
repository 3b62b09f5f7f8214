"""What the parts cost that are written by hand where a library exists: the figures of docs/decisions.

    .venv/bin/python -m benchmarks.own_parts

Each line is the CPU time of one call of ours and of the library's, the best of five rounds.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lapel.foundation.database.turns.fair_semaphore import FairSemaphore
from lapel.foundation.http.input.decoding import QueryDecoder
from lapel.foundation.http.input.forms import Form, FormFile
from lapel.foundation.workers.worker_child import answer_requests
from lapel.foundation.workers.worker_process import WorkerProcess
from lapel.hosting.connections.connection_limits import HttpLimits, guarded

if TYPE_CHECKING:
    from lapel.foundation.core.asgi import Receive, Scope, Send

ROUNDS = 5
PLACES, PATIENCE = 10, 3.0
REQUESTS = 20_000
FILE = 64 << 20
BOUNDARY = "frontier"
LIMITS = HttpLimits(
    header_timeout=10, body_timeout=30, header_limit=64 << 10, request_id=lambda: "req_benchmark"
)


class Ask(msgspec.Struct):
    """What the child process is asked."""

    text: str


class Told(msgspec.Struct):
    """What it answers."""

    text: str


def main() -> None:
    """Prints all figures."""
    asyncio.run(semaphores())
    for name, kind in (("guarded", guarded(LIMITS, asyncio.Event())), ("uvicorn's", HttpToolsProtocol)):
        told(f"a request without an application, {name} protocol", min(map(requests, [kind] * ROUNDS)))
    asyncio.run(forms())
    asyncio.run(children())
    for module in ("lapel.settings", "pydantic_settings"):
        told(f"import of {module}", min(map(importing, [module] * ROUNDS)))


def told(what: str, seconds: float) -> None:
    """One line of the output."""
    sys.stdout.write(f"{what}: {seconds * 1e6:,.1f} µs\n")
    sys.stdout.flush()


async def semaphores() -> None:
    """A place that is free, taken and given back."""

    async def ours(places: FairSemaphore) -> None:
        await places.enter()
        places.leave()

    async def library(places: asyncio.Semaphore) -> None:
        async with asyncio.timeout(PATIENCE), places:
            pass

    fair, plain = FairSemaphore(PLACES, PATIENCE), asyncio.Semaphore(PLACES)
    told("a free place, FairSemaphore", await best(lambda: ours(fair), 20_000))
    told("a free place, asyncio.Semaphore and asyncio.timeout", await best(lambda: library(plain), 20_000))


async def forms() -> None:
    """A form with one file of 64 MiB, as the server gets it."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="bin"; filename="a.bin"\r\n\r\n'.encode()
    piece = secrets.token_bytes(64 << 10)
    content_type = f"multipart/form-data; boundary={BOUNDARY}".encode()
    file = FormFile(name="bin", suffix=".bin", max_bytes=FILE, required=True, description="")

    def body() -> Receive:
        pieces = iter([head, *[piece] * (FILE // len(piece)), f"\r\n--{BOUNDARY}--\r\n".encode(), b""])

        async def receive() -> dict[str, Any]:
            part = next(pieces)
            return {"type": "http.request", "body": part, "more_body": bool(part)}

        return receive

    async def ours() -> None:
        headers = {b"content-type": content_type}
        form = Form(body(), headers, files=[file], fields=QueryDecoder(Told), field_bytes=1 << 20)
        await form.next_file()
        while await form.read():
            pass

    async def library() -> None:
        scope = {"type": "http", "headers": [(b"content-type", content_type)]}
        async with Request(scope, body()).form() as form:
            assert form["bin"]

    told("a form of 64 MiB, ours", await best(ours, 1))
    told("a form of 64 MiB, Starlette's, with its temporary file", await best(library, 1))


async def children() -> None:
    """A question to a child process, by the clock: the time passes in both processes."""
    os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent)  # the child finds this module
    worker = WorkerProcess("benchmarks.own_parts")
    loop, pool = asyncio.get_running_loop(), ProcessPoolExecutor(1)
    ask = Ask("a" * 1000)
    ours = await best(lambda: worker.call(ask, Told, seconds=60), 500, time.perf_counter)
    library = await best(lambda: loop.run_in_executor(pool, answer, ask), 500, time.perf_counter)
    await worker.close()
    pool.shutdown()
    told("an answer of a WorkerProcess (MessagePack)", ours)
    told("an answer of a ProcessPoolExecutor (pickle)", library)


async def best(
    call: Callable[[], Awaitable[object]], count: int, clock: Callable[[], float] = time.process_time
) -> float:
    """Seconds of one call."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        began = clock()
        for _ in range(count):
            await call()
        rounds.append((clock() - began) / count)
    return min(rounds)


def answer(ask: Ask) -> Told:
    """The work of the child process."""
    return Told(ask.text)


def importing(module: str) -> float:
    """Seconds of CPU for a Python that imports the module, less those of an empty one."""

    def seconds(code: str) -> float:
        before = cpu_of_children()
        subprocess.run([sys.executable, "-c", code], check=True)
        return cpu_of_children() - before

    return seconds(f"import {module}") - seconds("pass")


def requests(protocol: type[HttpToolsProtocol]) -> float:
    """Seconds of the server's CPU for one request of a client that waits for each answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = multiprocessing.get_context("fork").Process(target=serve, args=(protocol, listener))
    server.start()
    before = cpu_of_children()
    with socket.create_connection(listener.getsockname()) as client:
        for _ in range(REQUESTS):
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n")
            while not client.recv(4096).endswith(b"ok"):
                pass
        client.sendall(b"GET /end HTTP/1.1\r\nHost: localhost\r\n\r\n")
    server.join()
    return (cpu_of_children() - before) / REQUESTS


def cpu_of_children() -> float:
    """Seconds of CPU of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def serve(protocol: type[HttpToolsProtocol], listener: socket.socket) -> None:
    """A server whose every answer is the same, until `/end`."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        if scope["path"] == "/end":
            server.should_exit = True
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    config = Config(application, http=protocol, ws="none", lifespan="off", log_config=None, access_log=False)
    server = Server(config)
    server.run([listener])


if __name__ == "__main__":
    if len(sys.argv) > 1:  # the child of `children`
        answer_requests(Ask, lambda ask, _: answer(ask), sys.argv[1])
    else:
        main()
