"""A process that serves the embedded store as `lapel serve` does, for tests that need to kill one."""

import argparse
import asyncio
import signal
from pathlib import Path

import uvloop

from lapel.embedded.s3.endpoint import create_store_app
from lapel.embedded.s3.protocol.mismatch import SignedElsewhere
from lapel.foundation.core.clock import SystemClock
from lapel.hosting.connections.connection_limits import HttpLimits
from lapel.hosting.listener import serve
from lapel.hosting.sockets import listen


async def main() -> None:
    """Serve until SIGTERM."""
    options = argparse.ArgumentParser()
    options.add_argument("root", type=Path)
    options.add_argument("--port", type=int)
    options.add_argument("--prefix", default="")
    options.add_argument("--min-free", type=int, default=1 << 20)
    options.add_argument("--stall", type=float, default=60)
    options.add_argument(
        "--ceiling", action="append", default=[], help="as audio=1000, by first word of type"
    )
    options.add_argument("--tls", type=Path, help="folder with cert.pem and key.pem")
    given = options.parse_args()
    app = create_store_app(
        given.root,
        {"AKIDTEST": "test-secret", "AKIDOTHER": "other-secret"},
        clock=SystemClock(),
        path_prefix=given.prefix,
        buckets=("recordings",),
        min_free_bytes=given.min_free,
        stall_seconds=given.stall,
        elsewhere=SignedElsewhere(("files.example.com",), ("audio/opus", "audio/wav")),
        ceilings={word: int(most) for word, most in (each.split("=") for each in given.ceiling)},
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    limits = HttpLimits(10, 5, 64 * 1024, lambda: "req_test")
    tls = (given.tls / "cert.pem", given.tls / "key.pem") if given.tls else None
    await serve(app, listen("127.0.0.1", given.port), limits, stop, tls=tls)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # the loop of `lapel serve`
        runner.run(main())
