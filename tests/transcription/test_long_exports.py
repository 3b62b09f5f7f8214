"""Exports of transcripts that are too long to be held whole, over HTTP."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx
import msgspec
import pytest

from lapel.foundation.ports import Ports
from lapel.slices.transcription.exports import export_queries
from lapel.slices.transcription.exports.content import Document
from lapel.slices.transcription.exports.formats import FORMATS, FormatName
from lapel.slices.transcription.speech.transcript import Segment, Transcript, Word
from tests.recordings.support import Device
from tests.support.patience import LONG
from tests.support.spoken import complete_transcription
from tests.transcription.exports.support import HOSTILE

AT = datetime(2026, 11, 24, 16, 40, tzinfo=UTC)


def long_transcript(*, speakers: bool) -> Transcript:
    """Of megabytes; the words of every fifth segment are known, and from the middle on who speaks."""
    segments: list[Segment] = []
    for number in range(600):
        spoken = [HOSTILE[(number + step) % len(HOSTILE)] for step in range(40)]
        words = [
            Word(start=number + place / 50, end=number + (place + 1) / 50, word=each, confidence=0.5)
            for place, each in enumerate(spoken)
        ]
        segments.append(
            Segment(
                start=float(number),
                end=number + 0.9,
                text=" ".join(spoken).replace("\x00", ""),
                confidence=number % 7 / 7,
                speaker=f"SPEAKER_{number // 40}" if speakers and number > 300 else msgspec.UNSET,
                words=msgspec.UNSET if number % 5 else words,
            )
        )
    return Transcript(
        segments=list(Document(title="x", segments=segments).tidy().segments),
        language="en",
        language_probability=0.9,
        model="base",
        duration_ms=600_000,
    )


async def exported(device: Device, ports: Ports, transcript: Transcript) -> tuple[str, str]:
    """The id of a recording with this transcript, and the path of its exports."""
    recording_id, _ = await device.upload(
        b"OggS" + bytes(200), name="Weekly sync", recorded_at=AT.isoformat()
    )
    made = await device.post("/v1/transcriptions", 201, {"recording_id": recording_id})
    await complete_transcription(ports, device.tenant.test_world, made["id"], transcript)
    return recording_id, f"/v1/transcriptions/{made['id']}/export"


def same(name: str, content: bytes) -> object:
    """What must be the same of two files; a package also tells when it was packed."""
    if name != "docx":
        return content
    archive = zipfile.ZipFile(io.BytesIO(content))
    return [(part, archive.read(part)) for part in archive.namelist()]


@pytest.mark.deep
@pytest.mark.parametrize(("speakers", "names"), [(True, tuple(FORMATS)), (False, ("txt", "html"))])
async def test_one_that_is_made_while_it_is_sent_is_the_same_file(
    device: Device, ports: Ports, speakers: bool, names: tuple[FormatName, ...]
) -> None:
    transcript = long_transcript(speakers=speakers)
    _, path = await exported(device, ports, transcript)
    document = Document.of(transcript, "Weekly sync", "2026-11-24 16:40 UTC")
    for name in names:
        answer = await device.client.get(f"{path}?format={name}", headers=device.headers)
        assert answer.status_code == 200
        assert answer.headers["transfer-encoding"] == "chunked"
        assert "content-length" not in answer.headers
        assert same(name, answer.content) == same(name, FORMATS[name].render(document)), name
        head = await device.client.head(f"{path}?format={name}", headers=device.headers)
        assert head.status_code == 200
        assert head.content == b""
        for header in ("content-type", "content-disposition", "x-content-type-options"):
            assert head.headers[header] == answer.headers[header]


async def test_one_whose_key_is_revoked_meanwhile_ends_without_its_end(
    device: Device, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that reads slowly would read on for hours, also what is written after the revocation."""
    _, path = await exported(device, ports, long_transcript(speakers=False))
    wanted = {"kind": "restricted", "scopes": ["transcriptions:read"]}
    key = await device.call("POST", "/v1/api-keys", 201, wanted)
    read_slice, slices = export_queries.read_slice, count(1)

    async def revoked_before_the_third(*of: Any, **which: Any) -> bytes | None:
        if next(slices) == 3:  # by then the first bytes are sent
            await device.call("DELETE", f"/v1/api-keys/{key['id']}", 204)
        return await read_slice(*of, **which)

    monkeypatch.setattr(export_queries, "read_slice", revoked_before_the_third)
    headers = {"Authorization": f"Bearer {key['key']}"}
    async with httpx.AsyncClient(base_url=device.client.base_url, trust_env=False, timeout=LONG) as client:
        request = client.build_request("GET", f"{path}?format=json", headers=headers)
        answer = await client.send(request, stream=True)
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            await answer.aread()


async def test_one_that_is_deleted_meanwhile_ends_without_its_end(
    device: Device, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording_id, path = await exported(device, ports, long_transcript(speakers=False))
    read_slice, slices = export_queries.read_slice, count(1)

    async def deleted_before_the_third(*of: Any, **which: Any) -> bytes | None:
        if next(slices) == 3:  # by then the first bytes are sent
            await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
        return await read_slice(*of, **which)

    # Left to chance, all of the file may be in the sockets before it is deleted.
    monkeypatch.setattr(export_queries, "read_slice", deleted_before_the_third)
    async with httpx.AsyncClient(base_url=device.client.base_url, trust_env=False, timeout=LONG) as client:
        request = client.build_request("GET", f"{path}?format=json", headers=device.headers)
        answer = await client.send(request, stream=True)
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            await answer.aread()
    gone = await device.client.get(f"{path}?format=json", headers=device.headers)
    assert gone.status_code == 404
