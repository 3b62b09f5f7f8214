"""The search over HTTP: what is found, and by whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from lapel.foundation.ports import Ports
from lapel.slices.search import service
from lapel.slices.search.indexing.vector_work import VectorWork
from lapel.slices.search.service import Search
from tests.embeddings.needs import needs_model
from tests.search.support import WHEN, Library, by_words, search, segments_of
from tests.support.tenants import Tenant, bearer, make_key

KEYS = {
    "chunk_id", "recording_id", "transcription_id", "chunk_text", "speaker", "start_ms", "end_ms",
    "recorded_at", "score",
}  # fmt: skip
BUDGET = ["The budget for Kowalski is 40,000 euros.", "We ship in October."]


@pytest.fixture
def library(ports: Ports, tenant: Tenant) -> Library:
    return Library(ports, tenant)


async def test_a_result_has_every_key(library: Library, client: httpx.AsyncClient) -> None:
    end_user = await library.end_user()
    recording = await library.said(end_user, segments_of(BUDGET))
    [found] = await search(client, library.tenant.test_key, "the budget of Kowalski", end_user_id=end_user)
    assert set(found) == KEYS
    assert found["recording_id"] == recording
    assert found["chunk_text"] == "The budget for Kowalski is 40,000 euros. We ship in October."
    assert (found["speaker"], found["start_ms"], found["end_ms"]) == ("SPEAKER_0", 0, 10_000)
    assert found["recorded_at"] == "2026-03-01T09:00:00.000Z"
    assert found["score"] > 0


@pytest.mark.parametrize(
    ("language", "said", "query"),
    [
        ("en", "The budgets were approved by Zofia Kowalski.", "who approved our budget?"),
        ("en", "Invoice 40,000 went out.", "40000"),
        ("en", "We met José there.", "jose"),
        ("en", "Call me at extension 4711.", "What was the number 4711?"),
        ("de", "Die Rechnungen sind bezahlt.", "Wurde die Rechnung bezahlt?"),
        ("fr", "Les livraisons arrivent mardi.", "livraison"),
        ("es", "Firmamos los contratos ayer.", "contrato"),
        ("zh", "我们明天开预算会议。", "预算"),
        ("zh", "我们喝茶。", "茶"),
        ("ja", "来週の会議は大阪です。", "大阪の会議"),
        ("th", "ประชุมวันพรุ่งนี้ตอนบ่าย", "พรุ่งนี้"),
        ("ko", "다음 주 예산을 논의합니다.", "예산"),
        ("ar", "نلتقي في القاهرة غدا.", "القاهرة"),
        ("hi", "बजट अगले सप्ताह तय होगा।", "बजट"),
        (None, "Volgende week vergaderen.", "vergaderen"),
        ("en", "Send it by e-mail.", "email"),
        ("en", "Send me an email.", "What about the e-mail?"),
        ("en", "We do co-working here.", "coworking"),
        ("en", "The number is 555-0199.", "5550199"),
        ("en", "The number is 5550199.", "555 0199"),
        ("en", "The number is 030 555 0199.", "030-555-0199"),
        ("pl", "Podpisaliśmy umowę w środę.", "umowa"),
        ("pl", "Recepta jest gotowa.", "receptę"),
        ("cs", "Doktor napsal zprávu.", "zpráva"),
        ("uk", "Ми підписали договір.", "договору"),
        ("uk", "Лікарям подзвонили.", "лікар"),
        ("fa", "قراردادها امضا شد.", "قرارداد"),
        ("he", "נפגשנו בבית המשפט.", "משפט"),
        ("he", "המסמך נחתם.", "מסמך"),
        ("he", "הַמִּסְמָךְ נֶחְתַּם.", "המסמך"),
        ("tr", "Işık yandı.", "isik"),
        ("tr", "ışık yandı.", "IŞIK"),
        ("hi", "यह ज़रूरी है।", "जरूरी"),
        ("hi", "यह जरूरी है।", "ज़रूरी"),
    ],
)
async def test_words_are_found_in_every_language(
    library: Library, language: str | None, said: str, query: str
) -> None:
    end_user = await library.end_user()
    await library.said(end_user, segments_of(["Nothing of that kind."]), language="en")
    wanted = await library.said(end_user, segments_of([said]), language=language)
    found = await by_words(library, end_user, query)
    assert [each[0] for each in found] == [wanted]


async def test_any_of_the_words_is_enough_and_the_rarer_counts_more(library: Library) -> None:
    end_user = await library.end_user()
    for number in range(5):
        await library.said(end_user, segments_of([f"The meeting number {number}."]))
    wanted = await library.said(end_user, segments_of(["The meeting was with Petrescu."]))
    found = await by_words(library, end_user, "Which meeting had Petrescu and nobody else of the company?")
    assert found[0][0] == wanted
    assert len(found) == 6
    assert await by_words(library, end_user, "of the and with") == []
    assert await by_words(library, end_user, "!?' & | \\ :* <->") == []


async def test_filters(library: Library, client: httpx.AsyncClient) -> None:
    end_user, other = await library.end_user(), await library.end_user()
    days = [WHEN + timedelta(days=day) for day in range(3)]
    made = [await library.said(end_user, segments_of(BUDGET), recorded_at=day) for day in days]
    undated = await library.said(end_user, segments_of(BUDGET), recorded_at=None)
    foreign = await library.said(other, segments_of(BUDGET))
    key = library.tenant.test_key

    async def ids(**body: Any) -> set[str]:
        found = await search(client, key, "budget", end_user_id=end_user, **body)
        return {each["recording_id"] for each in found}

    assert await ids() == {*made, undated}
    assert await ids(recording_ids=[made[0], foreign, "rec_none"]) == {made[0]}
    assert await ids(recording_ids=[]) == set()
    assert await ids(recorded_after=days[1].isoformat()) == set(made[1:])
    assert await ids(recorded_before=days[1].isoformat()) == {made[0]}
    assert len(await search(client, key, "budget", end_user_id=end_user, limit=2)) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"query": ""},
        {"query": "x" * 1001},
        {"query": "𝒳" * 501},
        {"query": "x", "limit": 0},
        {"query": "x", "limit": 51},
        {"query": "x", "recording_ids": ["rec_1"] * 501},
        {"query": "x", "recorded_after": "2026-01-01T00:00:00"},
        {"query": "x", "end_user_id": None},
        {"end_user_id": "eu_x"},
    ],
)
async def test_what_is_refused(client: httpx.AsyncClient, tenant: Tenant, body: dict[str, object]) -> None:
    answer = await client.post(
        "/v1/recordings/search", json={"end_user_id": "eu_x", **body}, headers=bearer(tenant.test_key)
    )
    assert answer.status_code == 400, answer.text


async def test_an_end_user_is_searched_by_those_who_may(
    library: Library, client: httpx.AsyncClient, stranger: Tenant
) -> None:
    end_user, other = await library.end_user(), await library.end_user()
    recording = await library.said(end_user, segments_of(BUDGET))
    own = await make_key(
        library.ports, library.tenant.test_world, "rk_test", scopes=("recordings:read",), end_user_id=end_user
    )
    assert [each["recording_id"] for each in await search(client, own, "budget")] == [recording]
    assert await search(client, own, "budget", end_user_id=end_user)
    await search(client, own, "budget", 404, end_user_id=other)
    await search(client, library.tenant.test_key, "budget", 400)
    await search(client, library.tenant.test_key, "budget", 404, end_user_id="eu_nobody")
    await search(client, stranger.test_key, "budget", 404, end_user_id=end_user)
    await search(client, library.tenant.live_key, "budget", 404, end_user_id=end_user)
    assert await search(client, library.tenant.test_key, "budget", end_user_id=other) == []


async def test_a_lexeme_of_another_end_user_cannot_be_said(library: Library) -> None:
    victim, attacker = await library.end_user(), await library.end_user()
    await library.said(attacker, segments_of([f"@{library.world_id}@{victim} budget {victim}"]))
    assert await by_words(library, victim, "budget") == []
    assert await by_words(library, victim, victim) == []


@needs_model
async def test_the_meaning_is_found_in_other_words_and_languages(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_user = await library.end_user()
    wanted = await library.said(end_user, segments_of(["Our vehicle broke down on the motorway."]))
    await library.said(end_user, segments_of(["She baked bread with rye flour."]))
    search_service = library.services[Search]
    before = await search_service.search(library.world_id, end_user, "Das Auto hatte eine Panne")
    assert before == []
    await library.embed()
    found = await search_service.search(library.world_id, end_user, "Das Auto hatte eine Panne")
    assert found[0].recording_id == wanted
    assert len({each.chunk_id for each in found}) == len(found) == 2
    monkeypatch.setattr(service, "MOST_EXACT", 0)  # along the index
    assert await search_service.search(library.world_id, end_user, "Das Auto hatte eine Panne") == found
    await library.services[VectorWork].stop()
