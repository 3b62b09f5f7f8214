"""The judge of support: Ask asks it about each sentence, and the evaluation about each claim."""

from __future__ import annotations

from lapel.slices.claims.claim_judge import ClaimJudge, judge_by_words
from lapel.slices.claims.claim_reader import Case, ClaimReader, reader_of
from lapel.slices.claims.judgement import Evidence, Judgement, Verdict

__all__ = [
    "Case",
    "ClaimJudge",
    "ClaimReader",
    "Evidence",
    "Judgement",
    "Verdict",
    "judge_by_words",
    "reader_of",
]
