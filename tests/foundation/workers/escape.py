"""`python -m tests.foundation.workers.escape FOLDER`: what a confined child reaches, as one JSON document.

Run by root or by an ordinary user, in a folder of theirs. `trusted` is the same child that keeps its rights.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

from lapel.foundation.workers.worker_process import WorkerProcess
from lapel.sample import speech
from lapel.settings import Settings
from lapel.slices.transcription.audio.decoder import Decoder
from lapel.slices.transcription.models.process.engine_client import Engine
from lapel.slices.transcription.speech.messages import Listen
from tests.foundation.workers.prisoner import Came, Try

SECONDS = 120


def status_of(pid: int) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    wanted = ("Uid", "Gid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
    return {name: lines[name].split()[0] for name in wanted}


async def tried(child: WorkerProcess, folder: Path, port: int) -> dict[str, str]:
    """What came of each try, and what the kernel says of the child."""
    secret, inside, outside = folder / "secret", folder / "inside", folder / "outside"
    secret.write_text("a secret")
    secret.chmod(0o600)
    reads, writes = (str(secret), os.O_RDONLY), (str(inside), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    tries = {
        "handed to read": Try(do="read handed", what=str(secret), handed=[reads]),
        "handed to write": Try(do="write handed", what=str(inside), handed=[writes]),
        "read": Try(do="read", what=str(secret)),
        "write": Try(do="write", what=str(outside)),
        "tcp": Try(do="tcp", what=str(port)),
        "udp": Try(do="udp", what=str(port)),
        "become root": Try(do="become root"),
        "signal": Try(do="signal", what=str(os.getpid())),
    }
    came = {name: await child.call(each, Came, seconds=SECONDS) for name, each in tries.items()}
    told = status_of(came["read"].pid)
    return {name: each.of_it for name, each in came.items()} | told | {"written": inside.read_text()}


async def heard(folder: Path) -> str:
    """The sample, decoded and transcribed by the real children."""
    (folder / "audio").write_bytes(speech().data)
    decoder, engine = Decoder(children=1, spare_bytes=0), Engine(Settings.from_env({"HOME": str(folder)}))
    try:
        await decoder.decode(folder / "audio", declared="audio/opus", pcm=folder / "pcm")
        asked = Listen(pcm=str(folder / "pcm"), start_ms=0, end_ms=6000, language="en")
        return " ".join(each.text for each in (await engine.listen(asked)).segments)
    finally:
        await decoder.aclose()
        await engine.aclose()


async def main(folder: Path, *, hears: bool) -> None:
    found: dict[str, object] = {}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for name, reads in (("confined", ()), ("trusted", None)):
            child = WorkerProcess("tests.foundation.workers.prisoner", reads=reads)
            found[name] = await tried(child, folder, listener.getsockname()[1])
            await child.close()
    if hears:
        found["heard"] = await heard(folder)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), hears="hear" in sys.argv))
