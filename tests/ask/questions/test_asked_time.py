"""What questions say about the time of recordings, in five languages."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.slices.ask.questions.asked_time import AskedTime, asked_time
from lapel.slices.ask.questions.period import Period, moment
from lapel.slices.ask.questions.told_counts import told_count

TODAY = date(2026, 3, 18)  # a Wednesday


def day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


@pytest.mark.parametrize(
    ("question", "first", "end"),
    [
        ("What did we agree yesterday?", "2026-03-17", "2026-03-18"),
        ("What did Ada say last Tuesday?", "2026-03-17", "2026-03-18"),
        ("summary of this week", "2026-03-16", None),
        ("What was discussed between 3 and 7 March?", "2026-03-03", "2026-03-08"),
        ("What did we decide in the last 3 days?", "2026-03-15", None),
        ("Everything since 3 March please: what was said about the roof?", "2026-03-03", None),
        ("What did he say before February?", None, "2026-02-01"),
        ("What did we talk about on March 3rd, 2025?", "2025-03-03", "2025-03-04"),
        ("What was said two weeks ago?", "2026-03-02", "2026-03-09"),
        ("notes from the weekend?", "2026-03-14", "2026-03-16"),
        ("Was haben wir gestern besprochen?", "2026-03-17", "2026-03-18"),
        ("Was hat Ada am Dienstag gesagt?", "2026-03-17", "2026-03-18"),
        ("Was wurde vor drei Tagen vereinbart?", "2026-03-15", "2026-03-16"),
        ("Was wurde vor Februar gesagt?", None, "2026-02-01"),
        ("Was wurde seit dem 3. März beschlossen?", "2026-03-03", None),
        ("Was sagte er im März 2025?", "2025-03-01", "2025-04-01"),
        ("Was wurde zwischen dem 3. und 7. März vereinbart?", "2026-03-03", "2026-03-08"),
        ("Was wurde in den letzten drei Tagen besprochen?", "2026-03-15", None),
        ("¿Qué dijo Ana ayer?", "2026-03-17", "2026-03-18"),
        ("¿De qué hablamos la semana pasada?", "2026-03-09", "2026-03-16"),
        ("¿Qué se dijo el martes pasado?", "2026-03-17", "2026-03-18"),
        ("¿Qué acordamos el 3 de marzo?", "2026-03-03", "2026-03-04"),
        ("¿Qué pasó entre el 3 y el 7 de marzo?", "2026-03-03", "2026-03-08"),
        ("Qu'avons-nous décidé hier ?", "2026-03-17", "2026-03-18"),
        ("Qu'a dit Paul mardi dernier ?", "2026-03-17", "2026-03-18"),
        ("Qu'a-t-on dit du 3 au 7 mars ?", "2026-03-03", "2026-03-08"),
        ("Qu'a-t-il dit depuis lundi ?", "2026-03-16", None),
        ("il y a trois jours, on a dit quoi ?", "2026-03-15", "2026-03-16"),
        ("昨天我们说了什么？", "2026-03-17", "2026-03-18"),
        ("上周二医生说了什么？", "2026-03-10", "2026-03-11"),
        ("最近三天讨论了什么？", "2026-03-15", None),
        ("3月3日我们决定了什么？", "2026-03-03", "2026-03-04"),
        ("三月份说过什么？", "2026-03-01", "2026-04-01"),
        ("3月3日到7日谈了什么？", "2026-03-03", "2026-03-08"),
        ("三天前说了什么？", "2026-03-15", "2026-03-16"),
        ("从3月以来说了什么", "2026-03-01", None),
    ],
)
def test_a_time_of_the_past_limits_the_recordings(question: str, first: str | None, end: str | None) -> None:
    found = asked_time(question, TODAY)
    assert found == AskedTime(found.language, Period(day(first), day(end)))


@pytest.mark.parametrize(
    "question",
    [
        "When is the meeting tomorrow?",
        "What did she say about last week's delivery?",
        "Which appointment is on Tuesday?",
        "What happens in March?",
        "Welcher Termin ist am Dienstag?",
        "Wann ist morgen die Besprechung?",
        "¿Cuándo es la cita mañana?",
        "¿Qué dijo sobre la entrega de la semana pasada?",
        "Quel rendez-vous est mardi ?",
        "明天的会议几点？",
        "上周的送货她怎么说？",
    ],
)
def test_a_time_that_is_talked_about_limits_nothing(question: str) -> None:
    assert not asked_time(question, TODAY).is_limited


@pytest.mark.parametrize(
    ("question", "order"),
    [
        ("What was the newest recording about?", "newest"),
        ("Worum ging es in der letzten Aufnahme?", "newest"),
        ("¿Cuál es la grabación más reciente?", "newest"),
        ("De quoi parle le dernier enregistrement ?", "newest"),
        ("最新的录音讲了什么？", "newest"),
        ("What did we agree in our first meeting?", "oldest"),
        ("Was wurde im ältesten Gespräch gesagt?", "oldest"),
    ],
)
def test_the_newest_and_the_oldest_recording(question: str, order: str) -> None:
    found = asked_time(question, TODAY)
    assert found == AskedTime(found.language, order=order)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("question", "first", "end"),
    [
        ("How many meetings did I have last week?", "2026-03-09", "2026-03-16"),
        ("Wie viele Gespräche hatte ich letzte Woche?", "2026-03-09", "2026-03-16"),
        ("¿Cuántas reuniones hubo este mes?", "2026-03-01", None),
        ("Combien d'enregistrements la semaine dernière ?", "2026-03-09", "2026-03-16"),
        ("这周有几次会议？", "2026-03-16", None),
        ("How many recordings are there?", None, None),
        ("我有多少个录音？", None, None),
    ],
)
def test_their_number_is_asked(question: str, first: str | None, end: str | None) -> None:
    found = asked_time(question, TODAY)
    assert found == AskedTime(found.language, Period(day(first), day(end)), counts=True)


@pytest.mark.parametrize(
    ("today", "question", "first", "end"),
    [
        ("2026-01-01", "What was said yesterday?", "2025-12-31", "2026-01-01"),
        ("2026-01-05", "What was said last month?", "2025-12-01", "2026-01-01"),
        ("2026-01-05", "What was said in December?", "2025-12-01", "2026-01-01"),
        ("2026-03-31", "What was said in the last month?", "2026-02-01", "2026-03-01"),
        ("2026-03-31", "What was said in the last 1 months?", "2026-02-28", None),
        ("2027-03-01", "What was said on 29 February?", "2024-02-29", "2024-03-01"),
        ("2026-03-16", "What was said last Monday?", "2026-03-09", "2026-03-10"),
        ("2026-03-15", "What was said this week?", "2026-03-09", None),
        ("2026-03-18", "What was said on 31 February?", None, None),
        ("2026-03-18", "What was said on 2026-13-45?", None, None),
        ("2026-03-18", "What was said in the last 999 years?", None, None),
    ],
)
def test_calendars_have_borders(today: str, question: str, first: str | None, end: str | None) -> None:
    assert asked_time(question, date.fromisoformat(today)).period == Period(day(first), day(end))


def test_a_day_begins_where_the_asker_is() -> None:
    began = moment(date(2026, 3, 29), ZoneInfo("Europe/Berlin"))
    assert began == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert moment(date(2026, 3, 30), ZoneInfo("Europe/Berlin")) == datetime(2026, 3, 29, 22, tzinfo=UTC)


WORDS = (
    "what did we say last the on in 3 2 days weeks march since before between and tuesday yesterday 's about"
)


@given(st.text(max_size=600) | st.lists(st.sampled_from(WORDS.split()), max_size=60).map(" ".join))
def test_any_text_has_an_answer_whose_period_is_not_empty(question: str) -> None:
    found = asked_time(question, TODAY).period
    assert found.first is None or found.end is None or found.first < found.end


def test_counts_are_told_in_five_languages() -> None:
    march = Period(date(2026, 3, 1), date(2026, 4, 1))
    assert told_count("en", 3, march) == "There are 3 recordings from 2026-03-01 to 2026-03-31."
    assert told_count("de", 1, Period()) == "Es gibt 1 Aufnahme."
    one_day = Period(date(2026, 3, 1), date(2026, 3, 2))
    assert asked_time("¿Cuántas reuniones hubo ayer?", TODAY).language == "es"
    assert told_count("es", 0, one_day) == "No hay grabaciones del 2026-03-01."
    since = Period(date(2026, 3, 1))
    assert told_count("fr", 2, since) == "Il y a 2 enregistrements depuis le 2026-03-01."
    assert told_count("zh", 2, Period(None, date(2026, 3, 1))) == "2026-03-01之前有2个录音。"
    assert told_count("pl", 2, Period()) == "There are 2 recordings."
