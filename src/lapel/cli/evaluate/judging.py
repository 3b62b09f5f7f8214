"""Lets the judge of support read every claim of a set, as Ask does for each sentence of an answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import UNSET

from lapel.cli.evaluate.figures import JudgedClaim
from lapel.slices.claims.service import Evidence
from lapel.slices.search.service import sentences_of
from lapel.slices.transcription.service import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lapel.evaluation.claims import EvaluatedClaim
    from lapel.slices.claims.service import ClaimJudge, ClaimReader


async def judge_claims(
    claims: Sequence[EvaluatedClaim], judge: ClaimJudge, reader: ClaimReader | None, done: Callable[[], None]
) -> list[JudgedClaim]:
    """What the judge says of each claim, one after the other; `reader`: the second reader, if it has one."""
    found: list[JudgedClaim] = []
    for each in claims:
        evidence = evidence_of(each)
        began = time.perf_counter()
        judgement = await judge.judge(each.claim, evidence, reader)
        seconds = time.perf_counter() - began
        found.append(
            JudgedClaim(
                half=each.half,
                kind=each.kind,
                across=each.across,
                supported=each.supported,
                accepted=judgement.verdict == "supported",
                seconds=seconds,
            )
        )
        done()
    return found


def evidence_of(claim: EvaluatedClaim) -> Evidence:
    """What the judge reads: the sentences of the turns."""
    segments = [
        Segment(start=place, end=place + 1, text=each.text, confidence=1.0, speaker=each.speaker or UNSET)
        for place, each in enumerate(claim.turns)
    ]
    return Evidence(sentences=sentences_of(segments), about=claim.title or "")
