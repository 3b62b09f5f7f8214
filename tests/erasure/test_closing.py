"""The log tells of closed entries with one line a round."""

from __future__ import annotations

from datetime import timedelta

from structlog.testing import capture_logs

from lapel.foundation.ports import Ports
from tests.erasure.support import MORE_THAN_MARGIN, WORDS, entry, rounds
from tests.recordings.support import Device


async def test_a_round_logs_how_many_entries_it_has_closed(device: Device, ports: Ports) -> None:
    recordings = [(await device.upload(WORDS))[0] for _ in range(3)]
    for each in recordings:
        await device.call("DELETE", f"/v1/recordings/{each}", 204)
    await rounds(ports, timedelta(minutes=6)).run_due()
    late = rounds(ports, MORE_THAN_MARGIN)
    with capture_logs() as logged:
        await late.run_due()
        await late.run_due()
    assert {(await entry(device, each))["state"] for each in recordings} == {"closed"}
    told = [each["entries"] for each in logged if each["event"] == "erasure.closed"]
    assert len(told) == 1
    assert told[0] >= len(recordings)  # other tests leave some
