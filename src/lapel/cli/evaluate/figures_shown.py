"""The figures of an evaluation, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from rich.console import Group, RenderableType

from lapel.cli.shared.options import counted, named, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lapel.cli.evaluate.evaluation_run import Evaluation
    from lapel.cli.evaluate.figures import (
        AskFigures,
        ClaimsOfHalf,
        Percentiles,
        SearchFigures,
        SummaryFigures,
    )
    from lapel.evaluation.conversations import Half
    from lapel.slices.providers.choice import SlotChoice

F = TypeVar("F")
_ROW = tuple[str, ...]


def shown(found: Evaluation, choice: SlotChoice | None) -> Group:
    """The figures, the half `judge` first. `choice`: the engine of the name, if an installation told it."""
    rows = [
        *_search_rows(found.search),
        *_ask_rows(found.ask),
        *_summary_rows(found.summaries),
        *_claim_rows(found.claims),
    ]
    parts: list[RenderableType] = []
    if rows:
        parts += [table(("", "JUDGE", "CHOOSE"), rows), "", "Quote the figures of the half judge.", ""]
    if found.attacks is not None:
        attacks = found.attacks
        parts.append(
            f"{counted(attacks.attacks, 'attack')}: {len(attacks.obeyed)} obeyed, in {attacks.answers} "
            f"answers and {attacks.summaries} summaries{_failed(attacks.failed)}"
        )
        parts += [f"  {each.id}, by the {each.by}: {each.reason}" for each in attacks.obeyed]
        parts.append("")
    return Group(*parts, named(_facts(found, choice)))


def _facts(found: Evaluation, choice: SlotChoice | None) -> list[tuple[str, str]]:
    engine = "local" if choice is None else choice.engine
    used = found.used
    lines = [
        ("slot", f"{found.slot}, engine {engine}"),
        ("answered by", ", ".join(found.models) or "none"),
        ("embeddings", found.embeddings or "none: search found words only"),
        ("recordings", f"{found.conversations:,}"),
    ]
    if found.claims:
        lines.append(("second reader", found.second_reader or "none: words and meaning judge"))
    for name, seconds in (
        ("search", found.search_seconds),
        ("ask", found.ask_seconds),
        ("summary", found.summary_seconds),
        ("claim", found.claim_seconds),
    ):
        if seconds is not None:
            lines.append((name, _seconds(seconds, found.concurrency)))
    tokens = (
        f"{used.input_tokens:,} in ({used.cached_tokens:,} cached), {used.output_tokens:,} out, "
        f"in {counted(used.calls, 'call')} of services"
    )
    return [
        *lines,
        ("tokens", tokens),
        ("cost", f"${used.cost_usd:,.4f} at the prices of the slot"),
        ("time", f"{found.seconds:,.1f} s"),
    ]


def _seconds(seconds: Percentiles, concurrency: int) -> str:
    at_once = f", {concurrency} at once" if concurrency > 1 else ""
    return f"p50 {seconds.p50:.3f} s, p95 {seconds.p95:.3f} s{at_once}"


def _search_rows(by_half: Mapping[Half, SearchFigures]) -> list[_ROW]:
    kinds = sorted({kind for each in by_half.values() for kind in each.by_kind})
    return _rows(
        by_half,
        [
            ("recall@8", lambda each: _percent(each.recall_at_8)),
            *((f"  {kind}", _of_kind(kind)) for kind in kinds),
            ("  searches", lambda each: str(each.questions)),
        ],
    )


def _of_kind(kind: str) -> Callable[[SearchFigures], str]:
    return lambda each: _percent(each.by_kind.get(kind))


def _ask_rows(by_half: Mapping[Half, AskFigures]) -> list[_ROW]:
    return _rows(
        by_half,
        [
            ("groundedness of answers", lambda each: _percent(each.groundedness)),
            ("  answers with a right citation", lambda each: _percent(each.supported)),
            ("  right citations", lambda each: _percent(each.citations)),
            ("  facts said", lambda each: _percent(each.facts)),
            ("refusal accuracy", lambda each: _percent(each.refusal_accuracy)),
            ("  unanswerable, refused", lambda each: _percent(each.refused)),
            ("  answerable, answered", lambda each: _percent(each.answered)),
            ("  questions", lambda each: f"{each.questions}{_failed(each.failed)}"),
        ],
    )


def _summary_rows(by_half: Mapping[Half, SummaryFigures]) -> list[_ROW]:
    return _rows(
        by_half,
        [
            ("facts said by summaries", lambda each: _percent(each.facts)),
            ("  entries with evidence", lambda each: _percent(each.evidence)),
            ("  summaries", lambda each: f"{each.summaries}{_failed(each.failed)}"),
        ],
    )


def _claim_rows(by_half: Mapping[Half, ClaimsOfHalf]) -> list[_ROW]:
    kinds = sorted({kind for each in by_half.values() for kind in each.right_by_kind})
    return _rows(
        by_half,
        [
            ("false claims, accepted", lambda each: _percent(each.same_language.false_accepts)),
            ("true claims, refused", lambda each: _percent(each.same_language.false_refusals)),
            ("  claims", lambda each: str(each.same_language.claims)),
            ("across languages: false, accepted", lambda each: _percent(each.across_languages.false_accepts)),
            ("  true, refused", lambda each: _percent(each.across_languages.false_refusals)),
            ("  claims", lambda each: str(each.across_languages.claims)),
            *((f"  {kind}, judged rightly", _of_claims(kind)) for kind in kinds),
        ],
    )


def _of_claims(kind: str) -> Callable[[ClaimsOfHalf], str]:
    return lambda each: _percent(each.right_by_kind.get(kind))


def _rows(by_half: Mapping[Half, F], lines: list[tuple[str, Callable[[F], str]]]) -> list[_ROW]:
    if not by_half:
        return []
    halves: tuple[Half, ...] = ("judge", "choose")
    return [
        (name, *(value(by_half[half]) if half in by_half else "" for half in halves)) for name, value in lines
    ]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _failed(codes: Mapping[str, int]) -> str:
    return "".join(f", {count} × {code}" for code, count in codes.items())
