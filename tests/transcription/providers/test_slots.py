"""Who answers a slot: set by the operator, for one world, with a key that nobody else can read."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from decimal import Decimal
from ipaddress import ip_network
from typing import Any, cast

import pytest

from lapel.foundation.core.errors import Conflict, InvalidRequest, NotFound
from lapel.foundation.database.audit import ENTRIES
from lapel.foundation.identity import seal
from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.foundation.ports import Ports
from lapel.slices.providers.choice import SLOTS, SlotChoice, SpeechEngine
from lapel.slices.providers.slots.operator import OperatorProviders, Wanted
from lapel.slices.transcription.providers.deepgram import Deepgram
from lapel.slices.transcription.providers.protocol import Transcriber
from lapel.slices.transcription.providers.transcribers import speech_choice, transcriber
from lapel.slices.transcription.speech.failures import SpeechError
from tests.support.tenants import Tenant

KEY = "dg-0123456789abcdef-secret-WXYZ"
ROWS = "SELECT to_jsonb(p) AS row, sealed_key FROM provider_slots p WHERE world_id = $1"
LOG = f"SELECT a.*, d.details FROM {ENTRIES} WHERE a.world_id = $1 ORDER BY a.created_at, a.id"
COPY = """
INSERT INTO provider_slots (world_id, slot, engine, model, base_url, sealed_key, created_at, updated_at)
SELECT $2, slot, engine, model, base_url, sealed_key, created_at, updated_at FROM provider_slots
WHERE world_id = $1
"""
MOVE = "UPDATE provider_slots SET base_url = 'https://thief.example' WHERE world_id = $1"


def slots_of(ports: Ports, tenant: Tenant, mode: Any = "test") -> OperatorProviders:
    """The operator at one world."""
    return OperatorProviders(ports, mode=mode, project_id=tenant.project_id)


async def chosen(ports: Ports, world_id: int, slot: Any) -> SlotChoice:
    """What the work finds."""
    async with ports.database.acquire() as connection:
        return await speech_choice(connection, ports.sealer, world_id, slot)


async def log_of(ports: Ports, world_id: int) -> list[tuple[str, Any, Any]]:
    """The world's audit log: action, before, after."""
    async with ports.database.acquire() as connection:
        rows = await connection.fetch(LOG, world_id)
    assert all(row["actor_kind"] == "operator" and row["resource_type"] == "provider" for row in rows)
    told = [(row["action"], json.loads(row["details"])) for row in rows]
    return [(action, details["before"], details["after"]) for action, details in told]


async def test_with_nothing_set_all_slots_are_local(ports: Ports, tenant: Tenant) -> None:
    assert SLOTS == ("whisper", "deepgram", "assemblyai", "elevenlabs", "gemini", "openai", "claude")
    for slot in SLOTS:
        assert await chosen(ports, tenant.test_world, slot) == SlotChoice(slot=slot, engine="local")
    shown = await slots_of(ports, tenant).list()
    assert [(each.slot, each.engine, each.key) for each in shown] == [(slot, "local", None) for slot in SLOTS]


async def test_one_world_alone_sees_what_is_set(ports: Ports, tenant: Tenant, stranger: Tenant) -> None:
    shown = await slots_of(ports, tenant).set("deepgram", Wanted(key=KEY))
    assert (shown.engine, shown.model, shown.base_url, shown.key) == ("deepgram", None, None, "…WXYZ")
    found = await chosen(ports, tenant.test_world, "deepgram")
    assert found == SlotChoice(slot="deepgram", engine="deepgram", key=KEY)
    for world in (tenant.live_world, stranger.test_world, stranger.live_world):
        assert (await chosen(ports, world, "deepgram")).engine == "local"
    for others in (slots_of(ports, tenant, "live"), slots_of(ports, stranger)):
        assert {each.engine for each in await others.list()} == {"local"}
    assert (await chosen(ports, tenant.test_world, "whisper")).engine == "local"


async def test_a_key_is_sealed_and_in_no_log(ports: Ports, tenant: Tenant) -> None:
    slots = slots_of(ports, tenant)
    await slots.set("deepgram", Wanted(key=KEY))
    await slots.set("deepgram", Wanted(key=KEY[::-1]))
    async with ports.database.acquire() as connection:
        (row,) = await connection.fetch(ROWS, tenant.test_world)
        log = await connection.fetch(LOG, tenant.test_world)
    kept = repr(dict(row)) + repr([dict(each) for each in log])
    for key in (KEY, KEY[::-1], KEY.encode().hex(), KEY[:12]):
        assert key not in kept
        assert key.encode() not in row["sealed_key"]
    assert "WXYZ" in kept
    assert KEY not in repr(await slots.list()) + repr(await slots.choice("deepgram")) + repr(Wanted(key=KEY))


async def test_a_key_opens_only_where_it_was_set(ports: Ports, tenant: Tenant, stranger: Tenant) -> None:
    await slots_of(ports, tenant).set("deepgram", Wanted(key=KEY))
    async with ports.database.acquire() as connection:
        await connection.execute(COPY, tenant.test_world, stranger.test_world)
        await connection.execute(MOVE, tenant.test_world)
    for world in (stranger.test_world, tenant.test_world):
        with pytest.raises(SpeechError, match="sealed under another secret") as caught:
            await chosen(ports, world, "deepgram")
        assert "`lapel providers set deepgram --key-file FILE`" in caught.value.message
    assert (await slots_of(ports, stranger).list())[1].key == "unreadable"


async def test_keys_outlive_a_change_of_the_secret(ports: Ports, tenant: Tenant) -> None:
    old, new = "the-old-secret-of-the-installation", "the-new-secret-of-the-installation"
    before, during, after = (
        replace(ports, sealer=seal.sealer(*secrets)) for secrets in ((old, None), (new, old), (new, None))
    )
    await slots_of(before, tenant).set("deepgram", Wanted(key=KEY))
    assert (await chosen(during, tenant.test_world, "deepgram")).key == KEY
    with pytest.raises(SpeechError):
        await chosen(after, tenant.test_world, "deepgram")
    with pytest.raises(InvalidRequest, match="sealed under another secret; give it again"):
        await slots_of(after, tenant).set("deepgram", Wanted(model="nova-2"))
    await slots_of(during, tenant).set("deepgram", Wanted())  # sealed anew
    assert (await chosen(after, tenant.test_world, "deepgram")).key == KEY
    await slots_of(after, tenant).set("deepgram", Wanted(key="another"))


async def test_what_is_not_named_stays(ports: Ports, tenant: Tenant) -> None:
    slots, world = slots_of(ports, tenant), tenant.test_world
    await slots.set("deepgram", Wanted(key=KEY, base_url="https://eu.example/"))
    await slots.set("deepgram", Wanted(model="nova-2"))
    found = await chosen(ports, world, "deepgram")
    assert (found.model, found.base_url, found.key) == ("nova-2", "https://eu.example", KEY)
    with pytest.raises(InvalidRequest, match="for another address; give it again"):
        await slots.set("deepgram", Wanted(base_url="https://thief.example"))
    await slots.set("deepgram", Wanted(engine="openai", base_url="https://own.example/v1"))
    found = await chosen(ports, world, "deepgram")
    assert (found.engine, found.model, found.base_url, found.key) == (
        "openai", None, "https://own.example/v1", None
    )  # fmt: skip
    await slots.set("deepgram", Wanted(engine="local", model="small"))
    assert await chosen(ports, world, "deepgram") == SlotChoice(
        slot="deepgram", engine="local", model="small"
    )


async def test_every_change_is_in_the_audit_log(ports: Ports, tenant: Tenant) -> None:
    slots = slots_of(ports, tenant)
    await slots.set("deepgram", Wanted(key=KEY))
    await slots.set("deepgram", Wanted())  # changes nothing
    await slots.set("deepgram", Wanted(model="nova-2"))
    await slots.set("deepgram", Wanted(key="short"))
    await slots.remove("deepgram")
    await slots.remove("deepgram")  # there is nothing
    one = {
        "engine": "deepgram", "model": None, "base_url": None, "allow_training": False, "key": "…WXYZ",
        "context_tokens": None, "input_price": None, "cached_price": None, "cache_write_price": None,
        "output_price": None,
    }  # fmt: skip
    two = one | {"model": "nova-2"}
    three = two | {"key": "set"}
    assert await log_of(ports, tenant.test_world) == [
        ("provider.updated", None, one),
        ("provider.updated", one, two),
        ("provider.updated", two, three),
        ("provider.removed", three, None),
    ]
    assert await log_of(ports, tenant.live_world) == []
    assert (await chosen(ports, tenant.test_world, "deepgram")).engine == "local"


async def test_two_operators_at_once_lose_nothing(ports: Ports, tenant: Tenant) -> None:
    slots = slots_of(ports, tenant)
    await asyncio.gather(*(slots.set("deepgram", Wanted(key=f"{KEY}{number}")) for number in range(4)))
    log = await log_of(ports, tenant.test_world)
    assert len(log) == 4
    assert {json.dumps(before) for _, before, _ in log[1:]} == {json.dumps(after) for _, _, after in log[:-1]}


@pytest.mark.parametrize(
    ("slot", "wanted", "words"),
    [
        ("siri", Wanted(key=KEY), "There is no slot 'siri'. The slots are: whisper, deepgram,"),
        ("whisper", Wanted(key=KEY), "Name the engine that answers whisper: local, deepgram,"),
        (
            "whisper",
            Wanted(engine="siri", key=KEY),
            "There is no engine 'siri' for whisper; there are:",
        ),
        ("whisper", Wanted(engine="gemini", key=KEY), "There is no engine 'gemini' for whisper;"),
        ("claude", Wanted(engine="deepgram", key=KEY), "There is no engine 'deepgram' for claude;"),
        ("claude", Wanted(key=KEY, context_tokens=2047), "The window has 2048 to "),
        ("claude", Wanted(key=KEY, input_price=Decimal(-1)), "A price is 0 to "),
        ("claude", Wanted(key=KEY, cached_price=Decimal(-1)), "A price is 0 to "),
        ("claude", Wanted(key=KEY, cache_write_price=Decimal("inf")), "A price is 0 to "),
        ("deepgram", Wanted(key=KEY, context_tokens=4096), "deepgram counts no tokens."),
        ("deepgram", Wanted(), "deepgram needs a key."),
        ("whisper", Wanted(engine="openai"), "openai needs a key."),
        ("whisper", Wanted(engine="local", key=KEY), "takes neither address nor key"),
        ("whisper", Wanted(engine="local", base_url="https://x.example"), "takes neither address nor key"),
        ("deepgram", Wanted(key=""), "visible ASCII characters on one line"),
        ("deepgram", Wanted(key="a b"), "visible ASCII characters on one line"),
        ("deepgram", Wanted(key="a\r\nX: y"), "visible ASCII characters on one line"),
        ("deepgram", Wanted(key="ключ"), "visible ASCII characters on one line"),
        ("deepgram", Wanted(key="k" * 5000), "visible ASCII characters on one line"),
        ("deepgram", Wanted(key=KEY, model=""), "1 to 200 printable characters"),
        ("deepgram", Wanted(key=KEY, model="a\x00"), "1 to 200 printable characters"),
        ("deepgram", Wanted(key=KEY, model="m" * 201), "1 to 200 printable characters"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    ports: Ports, tenant: Tenant, slot: str, wanted: Wanted, words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await slots_of(ports, tenant).set(slot, wanted)
    assert words in caught.value.message
    assert KEY not in caught.value.message


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://speech.example/v1", "must begin with https://. http:// is allowed only to networks that"),
        ("https://10.0.0.7/v1", "is not public"),
        ("http://[::1]:8000", "must begin with https://"),
        ("https://localhost", "is not public. The operator may name its network in LAPEL_OUTBOUND_NETWORKS."),
        ("ftp://127.0.0.1", "must begin with https://"),
        ("https://me:secret@speech.example", "must not have a user name or a password"),
        ("https://speech.example?x=1", "may not contain ? or #"),
        ("https://speech.example/#x", "may not contain ? or #"),
        ("speech.example", "must begin with"),
        ("https://", "has no host"),
        ("https://speech.example:x", "port"),
        ("https://spee ch.example", "has a space"),
        ("https://[::1", "cannot be read"),
        ("https://a\x00.example", "cannot be seen"),
        (f"https://{'a' * 600}.example", "is not a valid name"),
        (f"https://speech.example/{'a' * 600}", "longer than 500"),
        ("", "must begin with"),
    ],
)
async def test_an_address_that_gives_the_key_away_is_refused(
    ports: Ports, tenant: Tenant, url: str, words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await slots_of(ports, tenant).set("deepgram", Wanted(key=KEY, base_url=url))
    assert words in caught.value.message


@pytest.mark.parametrize(
    "url",
    ["http://localhost:8000/v1", "http://127.0.0.2", "http://speech.lan/v1", "https://speech.example/a/b"],
)
async def test_a_good_address_is_taken(ports: Ports, tenant: Tenant, url: str) -> None:
    opened = replace(ports.settings, outbound_networks=(ip_network("127.0.0.0/8"),))
    slots = slots_of(replace(ports, settings=opened), tenant)
    shown = await slots.set("whisper", Wanted(engine="openai", base_url=f"{url}/"))
    assert shown.base_url == url


REGIONS: dict[SpeechEngine, dict[str, str | None]] = {
    "deepgram": {
        "eu": "https://api.eu.deepgram.com", "au": "https://api.au.deepgram.com",
        "in": "https://api.in.deepgram.com", "global": None,
    },
    "assemblyai": {"eu": "https://api.eu.assemblyai.com", "global": None},
    "elevenlabs": {
        "eu": "https://api.eu.residency.elevenlabs.io", "in": "https://api.in.residency.elevenlabs.io",
        "sg": "https://api.sg.residency.elevenlabs.io", "us": "https://api.us.elevenlabs.io", "global": None,
    },
    "openai": {
        "eu": "https://eu.api.openai.com/v1", "us": "https://us.api.openai.com/v1",
        "au": "https://au.api.openai.com/v1", "in": "https://in.api.openai.com/v1",
        "jp": "https://jp.api.openai.com/v1", "global": None,
    },
}  # fmt: skip


async def test_a_region_is_the_address_that_its_maker_names(ports: Ports, tenant: Tenant) -> None:
    slots = slots_of(ports, tenant)
    for engine, regions in REGIONS.items():
        for region, address in regions.items():
            shown = await slots.set("whisper", Wanted(engine=engine, region=region, key=KEY))
            assert (shown.region, shown.base_url) == (region, address)
        own = await slots.set("whisper", Wanted(base_url="https://speech.example", key=KEY))
        assert (own.region, own.base_url) == (None, "https://speech.example")


async def test_the_project_must_be_one(ports: Ports, tenant: Tenant, stranger: Tenant) -> None:
    with pytest.raises(Conflict, match="Name the project"):
        await OperatorProviders(ports, mode="test").list()
    with pytest.raises(NotFound):
        await OperatorProviders(ports, mode="test", project_id="proj_none").list()


def test_the_choice_makes_the_engine(ports: Ports) -> None:
    asked: list[str | None] = []

    def local(model: str | None) -> Transcriber:
        asked.append(model)
        return cast("Transcriber", "the local one")

    async def remember(_: str) -> None:
        raise AssertionError("nothing was sent")

    choice, policy = SlotChoice(slot="whisper", model="small"), OutboundPolicy()
    assert (
        transcriber(choice, local=local, clock=ports.clock, policy=policy, remember=remember)
        == "the local one"
    )
    assert asked == ["small"]
    remote = SlotChoice(slot="whisper", engine="deepgram", key=KEY)
    assert isinstance(
        transcriber(remote, local=local, clock=ports.clock, policy=policy, remember=remember), Deepgram
    )


async def test_a_language_slot_has_the_engine_of_its_maker(ports: Ports, tenant: Tenant) -> None:
    slots = slots_of(ports, tenant)
    prices = Wanted(
        key=KEY, context_tokens=200_000, input_price=Decimal("0.10"), output_price=Decimal("0.5"),
        cached_price=Decimal("0.01"), cache_write_price=Decimal("0.125"),
    )  # fmt: skip
    shown = await slots.set("claude", prices)
    assert (shown.engine, shown.context_tokens, shown.input_price, shown.output_price) == (
        "anthropic", 200_000, 0.1, 0.5,
    )  # fmt: skip
    await slots.set("claude", Wanted(model="claude-haiku-5-5"))
    kept = await chosen(ports, tenant.test_world, "claude")
    assert (kept.model, kept.context_tokens, kept.input_price) == (
        "claude-haiku-5-5",
        200_000,
        Decimal("0.1"),
    )
    assert (kept.cached_price, kept.cache_write_price) == (Decimal("0.01"), Decimal("0.125"))
    assert (await slots.set("gemini", Wanted(key=KEY))).engine == "gemini"
    assert (await slots.set("openai", Wanted(key=KEY, region="eu"))).region == "eu"
