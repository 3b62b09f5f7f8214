"""Statements that answer the questions of several callers, and the same statements for one question.

Such a statement joins its tables with `asked`, which has a row for each question. For one question, it has a
row of parameters instead of arrays, and takes PostgreSQL and the process that asks a quarter less time. Both
statements have the same text around `asked`, so they give the same rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class AskedRows(NamedTuple):
    """SQL of the relation `asked`, for several questions and for one.

    Its column `place` is the question, counted from 1.
    """

    several: str
    one: str

    def alone(self, statement: str) -> str:
        """A statement for several questions, with one question in their place."""
        return statement.replace(self.several, self.one)


def asked_rows(**types: str) -> AskedRows:
    """`asked` with a column for each parameter from $1 on, of these types, and the column `place`.

    The parameters of `several` are arrays. Their sub-selects hide the lengths of the arrays from the planner,
    which would otherwise plan each execution anew.
    """
    arrays = ", ".join(f"(SELECT ${number}::{each}[])" for number, each in enumerate(types.values(), 1))
    values = ", ".join(f"${number}::{each}" for number, each in enumerate(types.values(), 1))
    columns = f"asked ({', '.join(types)}, place)"
    return AskedRows(
        f"unnest({arrays}) WITH ORDINALITY AS {columns}",
        f"(SELECT {values}, 1::bigint) AS {columns}",
    )


def parameters(questions: Sequence[tuple[object, ...]]) -> Sequence[object]:
    """The parameters of `asked`: of one question its values, of several an array for each column."""
    return questions[0] if len(questions) == 1 else tuple(zip(*questions, strict=True))
