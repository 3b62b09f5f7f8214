"""`lapel providers`, as a person calls it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lapel.cli.commands import providers
from lapel.cli.shared.faults import CommandError
from lapel.foundation import telemetry
from lapel.foundation.core.errors import NotFound
from lapel.foundation.ports import open_ports
from lapel.hosting.data_folder import DataFolderError
from lapel.slices.projects.service import Projects
from lapel.slices.providers.choice import SpeechEngine
from tests.support.language_services import LanguageService, serving
from tests.support.running import settings_for
from tests.support.serving import LAPEL
from tests.support.speech_faults import status
from tests.support.speech_providers import KEY, Fake, serving_fake

SECRET = "a-secret-for-tests-that-is-long-enough"
Call = Callable[..., Any]


@pytest.fixture(autouse=True)
def own_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands run in this process, and do not set up its logs."""
    monkeypatch.setattr(telemetry, "configure", lambda *_: None)


@pytest.fixture
async def place(fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installation on a database of the test's own, with one project; its id."""
    monkeypatch.setenv("LAPEL_DATABASE_URL", fresh_database)
    monkeypatch.setenv("LAPEL_SECRET", SECRET)
    monkeypatch.setenv("LAPEL_OUTBOUND_NETWORKS", "127.0.0.0/8")
    monkeypatch.setenv("LAPEL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LAPEL_LANGUAGE_MODEL", "extractive")  # whatever is installed here
    async with open_ports(settings_for(tmp_path / "data", fresh_database, 9)) as ports:
        return (await Projects(ports).create("Acme")).id


@pytest.fixture
def call(place: str, capsys: pytest.CaptureFixture[str]) -> Call:
    """A command in this process: what it prints as JSON."""

    async def calling(command: Callable[..., None], *arguments: str, **flags: Any) -> Any:
        # In a thread, for it has an event loop of its own.
        await asyncio.to_thread(command, *arguments, json=True, **flags)
        printed = capsys.readouterr()
        assert KEY not in printed.out + printed.err
        return json.loads(printed.out)

    return calling


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    """A file with the key and the end of line that editors add."""
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    return str(file)


async def test_slots_are_set_listed_and_removed(call: Call, place: str, key_file: str) -> None:
    made = await call(providers.set_, "deepgram", key_file=key_file, model="nova-2")
    assert made == {
        "slot": "deepgram", "project_id": place, "mode": "test", "engine": "deepgram", "model": "nova-2",
        "base_url": None, "region": "global", "allow_training": False, "context_tokens": None,
        "input_price": None, "cached_price": None, "cache_write_price": None, "output_price": None,
        "key": "…WXYZ", "updated_at": made["updated_at"],
    }  # fmt: skip
    listed = (await call(providers.list_))["data"]
    assert [each["engine"] for each in listed] == ["local", "deepgram", *["local"] * 5]
    assert listed[1] == made
    live = (await call(providers.list_, mode="live"))["data"]
    assert {(each["engine"], each["mode"]) for each in live} == {("local", "live")}
    assert (await call(providers.remove, "deepgram"))["engine"] == "local"
    assert {each["engine"] for each in (await call(providers.list_))["data"]} == {"local"}


async def test_people_see_a_table(call: Call, key_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    await call(providers.set_, "assemblyai", key_file=key_file)
    await asyncio.to_thread(providers.list_)
    printed = capsys.readouterr().out
    assert "assemblyai  assemblyai         global  …WXYZ" in printed
    assert KEY not in printed


async def test_a_key_may_come_from_a_variable(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", f" {KEY} ")
    assert (await call(providers.set_, "elevenlabs", key_env="THE_KEY"))["key"] == "…WXYZ"


WRONG: list[tuple[dict[str, str], str]] = [
    ({"key_file": "x", "key_env": "Y"}, "give --key-file or --key-env, not both"),
    ({"key_env": "NO_SUCH_VARIABLE"}, "--key-env: there is no variable NO_SUCH_VARIABLE"),
    ({"key_file": "/no/such/file"}, "--key-file /no/such/file cannot be read: No such file"),
    ({"key_file": "/dev/null"}, "--key-file: it is empty"),
    ({}, "--key-file or --key-env: deepgram needs a key."),
    ({"engine": "siri"}, "--engine: There is no engine 'siri' for deepgram"),
    ({"base_url": "http://8.8.8.8"}, "--base-url: The address 8.8.8.8 of the URL is called by http://"),
    (
        {"base_url": "https://10.0.0.1"},
        "is not public (private, RFC 1918). The operator may name its network",
    ),
    ({"base_url": "https://speech.example", "model": "\x00"}, "--model: A model's name has"),
]


async def test_what_is_wrong_is_said_of_the_flag(call: Call) -> None:
    for flags, words in WRONG:
        with pytest.raises(CommandError) as caught:
            await call(providers.set_, "deepgram", **flags)
        assert words in str(caught.value)


async def test_an_unknown_project_or_slot_is_named(call: Call) -> None:
    with pytest.raises(NotFound):
        await call(providers.list_, project="proj_none")
    with pytest.raises(CommandError, match=r"There is no slot 'siri'\. The slots are: whisper,"):
        await call(providers.remove, "siri")


async def test_the_sample_is_sent_and_what_comes_back_is_told(
    call: Call, key_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    engines: tuple[tuple[SpeechEngine, str], ...] = (("openai", "whisper-1"), ("deepgram", "general-nova-3"))
    for engine, model in engines:
        async with serving_fake(Fake(engine)) as fake:
            where = fake.choice().base_url
            await call(providers.set_, "whisper", engine=engine, base_url=where, key_file=key_file)
            tested = await call(providers.try_, "whisper", language="en")
            await asyncio.to_thread(providers.try_, "whisper")
        assert fake.complaints == []
        assert fake.seconds == pytest.approx(24.73, abs=0.05)
        assert (tested["engine"], tested["model"], tested["language"]) == (engine, model, "en")
        assert [each["text"] for each in tested["segments"]] == ["Good morning.", "Hello there!"]
        assert len(tested["known"].split()) > 20
        printed = capsys.readouterr().out
        assert "Good morning." in printed
        assert "Known text: " in printed


async def test_a_service_on_this_machine_needs_the_setting(
    call: Call, key_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving_fake(Fake("openai", decode=False)) as fake:
        await call(providers.set_, "whisper", engine="openai", base_url=f"{fake.url}/v1", key_file=key_file)
        monkeypatch.delenv("LAPEL_OUTBOUND_NETWORKS")
        with pytest.raises(CommandError, match="Name the network in this setting"):
            await call(providers.try_, "whisper")
        assert fake.calls == []
        with pytest.raises(CommandError, match=r"--base-url: The URL must begin with https://\. http:// is"):
            await call(providers.set_, "whisper", base_url=f"{fake.url}/v2", key_file=key_file)


@pytest.mark.parametrize("engine", [pytest.param("assemblyai", marks=pytest.mark.deep), "elevenlabs"])
async def test_what_a_service_keeps_of_the_sample_is_deleted(
    call: Call, key_file: str, engine: SpeechEngine
) -> None:
    async with serving_fake(Fake(engine, decode=False, polls=0)) as fake:
        await call(providers.set_, engine, base_url=fake.url, key_file=key_file)
        tested = await call(providers.try_, engine)
        assert (fake.kept, len(fake.deleted), tested["warnings"]) == ([], 1, [])
        if engine == "assemblyai":  # of a transcript that failed, too
            fake.answer = {"id": "t-2", "status": "error", "error": "Decoding failed."}
            with pytest.raises(CommandError, match="Decoding failed"):
                await call(providers.try_, engine)
            assert (fake.kept, fake.deleted) == ([], ["t-1", "t-2"])


async def test_what_a_service_does_not_delete_is_told(call: Call, key_file: str) -> None:
    async with serving_fake(Fake("elevenlabs", decode=False)) as fake:
        await call(providers.set_, "elevenlabs", base_url=fake.url, key_file=key_file)
        fake.fail(status(500, {}, before_body=True), at="/v1/speech-to-text/transcripts")
        (warning,) = (await call(providers.try_, "elevenlabs"))["warnings"]
        assert f"The service still has the transcript {fake.kept[0]}: " in warning


@pytest.mark.parametrize("told", ["2027-02-26", 1803600000, "2027-02-26T00:00:00Z"])
async def test_the_end_of_a_model_is_told(call: Call, key_file: str, told: str | int) -> None:
    async with serving_fake(Fake("openai", decode=False, shutdown_date=told)) as fake:
        await call(providers.set_, "whisper", engine="openai", base_url=f"{fake.url}/v1", key_file=key_file)
        (warning,) = (await call(providers.try_, "whisper"))["warnings"]
        assert "ends its model whisper-1 on 2027-02-26" in warning
        fake.shutdown_date = None
        assert (await call(providers.try_, "whisper"))["warnings"] == []
        fake.fail(status(404, {"error": {"message": "no such path"}}), at="/v1/models")
        assert (await call(providers.try_, "whisper"))["warnings"] == []


async def test_a_region_is_named_and_not_typed(call: Call, key_file: str) -> None:
    set_ = providers.set_
    made = await call(set_, "deepgram", region="eu", key_file=key_file)
    assert (made["region"], made["base_url"]) == ("eu", "https://api.eu.deepgram.com")
    assert (await call(set_, "deepgram", model="nova-2"))["region"] == "eu"  # what is not named stays
    with pytest.raises(CommandError, match=r"--key-file or --key-env: .* another address"):
        await call(set_, "deepgram", region="global")
    made = await call(set_, "deepgram", region="global", key_file=key_file)
    assert (made["region"], made["base_url"]) == ("global", None)
    for engine, address in (
        ("assemblyai", "https://api.eu.assemblyai.com"),
        ("elevenlabs", "https://api.eu.residency.elevenlabs.io"),
        ("openai", "https://eu.api.openai.com/v1"),
    ):
        made = await call(set_, "whisper", engine=engine, region="eu", key_file=key_file)
        assert (made["region"], made["base_url"]) == ("eu", address)
    for wrong, words in (
        ({"region": "mars"}, "--region: deepgram has no region 'mars'. Its regions are: eu, au, in, global."),
        ({"region": "eu", "base_url": "https://x.example"}, "--region: Give a region or an address"),
        ({"engine": "local", "region": "eu"}, "--region: local has no region 'eu'. Its regions are: none."),
    ):
        with pytest.raises(CommandError) as caught:
            await call(set_, "deepgram", **wrong)
        assert words in str(caught.value)


async def test_training_is_allowed_only_when_the_operator_says_so(call: Call, key_file: str) -> None:
    set_ = providers.set_
    assert not (await call(set_, "deepgram", key_file=key_file))["allow_training"]
    assert (await call(set_, "deepgram", allow_training=True))["allow_training"]
    assert (await call(set_, "deepgram", model="nova-2"))["allow_training"]
    assert not (await call(set_, "deepgram", allow_training=False))["allow_training"]
    with pytest.raises(CommandError, match="--allow-training: elevenlabs has no training option"):
        await call(set_, "elevenlabs", allow_training=True, key_file=key_file)


async def test_what_the_provider_refuses_is_told(call: Call, key_file: str) -> None:
    async with serving_fake(Fake("deepgram")) as fake:
        await call(providers.set_, "deepgram", base_url=fake.url, key_file=key_file)
        fake.fail(status(401, {"err_msg": "Invalid credentials."}))
        with pytest.raises(CommandError, match="It refuses the key; set another one"):
            await call(providers.try_, "deepgram")


async def test_there_is_nothing_to_send_to_the_local_engine(call: Call) -> None:
    with pytest.raises(CommandError, match="there is no service to test"):
        await call(providers.try_, "whisper")


async def test_a_mistyped_folder_is_not_made_into_an_installation(tmp_path: Path) -> None:
    with pytest.raises(DataFolderError, match="does not exist; name the data folder with --data-dir"):
        await asyncio.to_thread(providers.list_, data_dir=tmp_path / "none")


def test_the_key_may_come_from_standard_input(place: str) -> None:
    command = [*LAPEL, "providers", "set", "deepgram", "--key-file", "-"]
    done = subprocess.run(command, input=f"{KEY}\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "…WXYZ" in done.stdout
    assert f"{place}, test" in done.stdout
    assert KEY not in done.stdout + done.stderr


async def test_a_language_model_is_asked_a_question(
    call: Call, key_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(LanguageService("openai", own=False)) as service:
        service.answer = lambda _: '{"answer": "On Saturday."}'
        flags = {"engine": "openai", "base_url": service.base_url, "key_file": key_file}
        await call(providers.set_, "claude", **flags, input_price=Decimal("0.5"))
        tested = await call(providers.try_, "claude")
        assert tested | {"seconds": 0} == {
            "slot": "claude", "engine": "openai", "model": "gpt-6-luna", "seconds": 0,
            "context_tokens": 4096, "answer": "On Saturday.",
            "tokens": {"input": 100, "output": 20, "cached": 40, "cache_written": None},
        }  # fmt: skip
        await asyncio.to_thread(providers.try_, "claude")
        assert "Answer:   On Saturday." in capsys.readouterr().out
        service.fail(status(401, {"error": {"message": "who?"}}))
        with pytest.raises(CommandError, match="`lapel providers set claude --key-file FILE`"):
            await call(providers.try_, "claude")
    with pytest.raises(CommandError, match="the local engine answers this name"):
        await call(providers.try_, "gemini")
    with pytest.raises(CommandError, match="A price is 0 to"):
        await call(providers.set_, "claude", key_file=key_file, input_price=Decimal("NaN"))
