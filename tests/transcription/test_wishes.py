"""What may be asked for with a transcription: language, provider, speakers; in both forms."""

from __future__ import annotations

import pytest

from lapel.foundation.ports import Ports
from lapel.slices.configuration.service import Configuration
from lapel.slices.transcription.payloads import Process
from lapel.slices.transcription.service import Transcriptions
from tests.recordings.support import Device, Json
from tests.transcription.test_transcriptions import SOUND, asked


async def test_the_provider_is_the_configurations_unless_it_is_named(device: Device) -> None:
    change = {"auto_transcription": {"provider": "assemblyai"}}
    await device.call("PATCH", "/v1/config/processing", 200, change)
    recording_id, _, made = await asked(device)
    assert made["provider"] == "assemblyai"
    person = (await device.read(recording_id))["end_user_id"]
    nearer = {"auto_transcription": {"provider": "elevenlabs"}}
    await device.call("PATCH", f"/v1/end-users/{person}/config/processing", 200, nearer)
    other, _ = await device.upload(SOUND, end_user_id=person)
    made = await device.post("/v1/transcriptions", 201, {"recording_id": other})
    assert made["provider"] == "elevenlabs"
    assert (await asked(device, provider="deepgram"))[2]["provider"] == "deepgram"


async def test_a_language_may_name_script_and_country(device: Device) -> None:
    _, _, made = await asked(device, language="zh-Hans-CN")
    assert made["language"] == "zh-Hans-CN"


async def languages_of(ports: Ports, made: Json) -> tuple[str | None, list[str] | None]:
    """What the work on a transcription is told: the language, and those among which it is detected."""
    async with ports.database.acquire() as connection:
        row = await connection.fetchrow(
            "SELECT language_asked, languages_asked FROM transcriptions WHERE id = $1", made["id"]
        )
    assert row is not None
    return row["language_asked"], row["languages_asked"]


async def test_the_languages_are_the_configurations_unless_the_request_names_some(
    device: Device, ports: Ports
) -> None:
    assert await languages_of(ports, (await asked(device))[2]) == (None, None)
    await device.call("PATCH", "/v1/config/processing", 200, {"languages": ["de", "es", "fr"]})
    recording_id, _, made = await asked(device)
    assert await languages_of(ports, made) == (None, ["de", "es", "fr"])
    # A list is one value: the nearer level's replaces it, and one language alone is not detected.
    person = (await device.read(recording_id))["end_user_id"]
    path = f"/v1/end-users/{person}/config/processing"
    await device.call("PATCH", path, 200, {"languages": ["it", "de-CH"]})
    other, _ = await device.upload(SOUND, end_user_id=person)
    made = await device.post("/v1/transcriptions", 201, {"recording_id": other})
    assert await languages_of(ports, made) == (None, ["it", "de-CH"])
    await device.call("PATCH", path, 200, {"auto_transcription": {"language": "it"}})
    other, _ = await device.upload(SOUND, end_user_id=person)
    made = await device.post("/v1/transcriptions", 201, {"recording_id": other})
    assert (await languages_of(ports, made))[0] == made["language"] == "it"
    # What the request says counts.
    assert await languages_of(ports, (await asked(device, languages=["pl", "cs"]))[2]) == (None, ["pl", "cs"])
    assert (await languages_of(ports, (await asked(device, language="ja"))[2]))[0] == "ja"
    assert (await languages_of(ports, (await asked(device, languages=["ja"]))[2]))[0] == "ja"


async def test_automatic_transcriptions_have_the_languages_of_the_configuration(
    device: Device, ports: Ports
) -> None:
    change = {"auto_transcription": {"enabled": True, "language": "de-CH"}}
    await device.call("PATCH", "/v1/config/processing", 200, change)
    shown = await device.call("GET", "/v1/config/processing", 200)
    assert shown["value"]["auto_transcription"]["language"] == "de-CH"
    assert "languages" not in shown["value"]
    recording_id, media_id = await device.upload(SOUND)
    told = Process(device.tenant.test_world, recording_id, media_id)
    await Transcriptions(ports, Configuration(ports)).process(told)
    made = await device.call("GET", f"/v1/transcriptions?recording_id={recording_id}", 200)
    assert [each["language"] for each in made["data"]] == ["de-CH"]


@pytest.mark.parametrize("wrong", [[], ["klingon"], ["de", 7], "de", ["de"] * 17, {"de": True}])
async def test_the_configuration_refuses_what_are_no_languages(device: Device, wrong: object) -> None:
    refused = await device.call("PATCH", "/v1/config/processing", 400, {"languages": wrong})
    assert refused["error"]["param"].startswith("languages")


async def test_what_is_not_said_has_its_default(device: Device) -> None:
    _, _, made = await asked(device)
    assert (made["provider"], made["diarization"], made["language"]) == ("whisper", True, None)
    for provider in ("whisper", "deepgram", "assemblyai", "elevenlabs"):
        assert (await asked(device, provider=provider))[2]["provider"] == provider


async def test_the_older_form_does_the_same(device: Device) -> None:
    recording_id, _ = await device.upload(SOUND)
    path = f"/v1/recordings/{recording_id}/transcribe"
    wish = {"num_speakers": 2, "language": "de", "provider": "deepgram", "diarization": False}
    made = await device.post(path, 201, wish)
    other, _ = await device.upload(SOUND)
    newer = await device.post("/v1/transcriptions", 201, {"recording_id": other, **wish})
    own = {"id", "recording_id", "created_at", "updated_at"}
    assert {name: made[name] for name in made.keys() - own} == {
        name: newer[name] for name in newer.keys() - own
    }
    assert (await device.read(recording_id))["transcription_id"] == made["id"]
    assert await device.call("GET", f"/v1/transcriptions/{made['id']}", 200) == made
    for wrong, param in (({"language": "x"}, "language"), ({"provider": "siri"}, "provider")):
        assert (await device.post(path, 400, wrong))["error"]["param"] == param


@pytest.mark.parametrize(
    ("wish", "param"),
    [
        ({"language": "x"}, "language"),
        ({"language": "english-language"}, "language"),
        ({"language": "klingon"}, "language"),
        ({"language": ""}, "language"),
        ({"language": "e\u0000n"}, "language"),
        ({"language": 7}, "language"),
        ({"provider": "siri"}, "provider"),
        ({"diarization": "yes"}, "diarization"),
        ({"num_speakers": 0}, "num_speakers"),
        ({"num_speakers": 33}, "num_speakers"),
        ({"num_speakers": 1.5}, "num_speakers"),
        ({"language": "tlh"}, "language"),
        ({"languages": ["de", "tlh"]}, "languages[1]"),
        ({"languages": ["klingon"]}, "languages[0]"),
        ({"languages": []}, "languages"),
        ({"languages": "de"}, "languages"),
        ({"languages": ["de"] * 17}, "languages"),
    ],
)
async def test_a_wrong_wish_is_refused_and_named(device: Device, wish: dict[str, object], param: str) -> None:
    recording_id, _ = await device.upload(SOUND)
    refused = await device.post("/v1/transcriptions", 400, {"recording_id": recording_id, **wish})
    assert refused["error"]["param"] == param


async def test_a_language_the_local_model_does_not_know_is_refused_with_those_it_knows(
    device: Device,
) -> None:
    recording_id, _ = await device.upload(SOUND)
    refused = await device.post("/v1/transcriptions", 400, {"recording_id": recording_id, "language": "tlh"})
    assert "`tlh`. Give one of af, am, " in refused["error"]["message"]
    # The list stands in the message alone.
    assert refused["error"]["details"] == [{"field": "language", "reason": "is not known to the local model"}]
    none = await device.post("/v1/transcriptions", 400, {"recording_id": recording_id, "language": "klingon"})
    assert none["error"]["message"].startswith("`klingon` is no language tag. Give one such as en")
