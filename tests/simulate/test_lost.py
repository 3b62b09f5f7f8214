"""A call that loses its answer."""

from __future__ import annotations

import asyncio
from random import Random

from lapel.simulate.client.lost_answers import lose


class Lowest(Random):
    """The whole request is sent, and as little as may be is heard of the answer."""

    def random(self) -> float:
        return 0.9

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:  # noqa: ARG002 - Random's own
        return 0 if stop is None else start


async def test_what_was_sent_whole_is_done_before_it_is_repeated() -> None:
    """Done later than its repeat, an unbinding would end the next binding, and a refresh the next token."""
    done: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        done.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port: int = server.sockets[0].getsockname()[1]
        await lose("POST", f"http://127.0.0.1:{port}/v1/devices/dev_1/unbind", {}, b"", Lowest())
        assert [head.partition(b"\r\n")[0] for head in done] == [b"POST /v1/devices/dev_1/unbind HTTP/1.1"]
