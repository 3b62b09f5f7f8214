"""Rows of statements as typed objects; query functions return them instead of asyncpg's records.

A row is a frozen `msgspec.Struct`. Its fields are the columns of the statement, with the same names in the
same order, so that a struct can be made by position. That takes 0.2 µs for 20 columns; by name (`**record`)
it takes 2.6 µs. By position, a frozen dataclass takes 3.0 µs, and a NamedTuple 0.5 to 0.8 µs (Python 3.11,
best of 5 times 100,000). Reading a field of the struct takes 20 ns, and of a record 70 ns. A struct can
inherit fields, so a statement with more columns declares only the additional ones.

Names are compared at the first row of each statement, and `tests/contract/test_rows.py` compares the names
and types of all statements with PostgreSQL's description of their columns. A module that defines rows imports
the types of their fields also at run time, so that this test can read them. The test does not compare NOT
NULL, because PostgreSQL does not tell whether a statement's column can be NULL. A row is made without a check
of its values: the CHECK of a column allows only the values of its enumeration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    import asyncpg

    from lapel.foundation.database.connection import Connection


class FoundRow(msgspec.Struct, frozen=True):
    """A row of a statement that answers several questions. `place`: its question, counted from 1.

    A row that inherits its other fields has `place` as a field of its own.
    """

    place: int


Row = TypeVar("Row", bound=msgspec.Struct)
Value = TypeVar("Value")

# By statement: the kind of row with which its column names were compared last. Statements are constants, so
# there are few. A look-up by statement and kind would take five times as long.
_compared: dict[str, type[msgspec.Struct]] = {}


async def fetch_row(
    connection: Connection, kind: type[Row], statement: str, *arguments: object
) -> Row | None:
    """The first row that the statement gives; None when it gives none.

    Raises TypeError when the columns are not the fields of `kind`.
    """
    record = await connection.fetchrow(statement, *arguments)
    if record is None:
        return None
    _compare(kind, statement, record)
    return kind(*record)


async def fetch_rows(
    connection: Connection, kind: type[Row], statement: str, *arguments: object
) -> list[Row]:
    """All rows that the statement gives.

    Raises TypeError when the columns are not the fields of `kind`.
    """
    records = await connection.fetch(statement, *arguments)
    if records:
        _compare(kind, statement, records[0])
    return [kind(*record) for record in records]


async def fetch_found(
    connection: Connection, kind: type[Row], statement: str, count: int, *arguments: object
) -> list[Row | None]:
    """The row that the statement gives for each of `count` questions; None for a question without one.

    `kind` has the field `place`, as FoundRow has. Raises TypeError when the columns are not the fields of
    `kind`.
    """
    records = await connection.fetch(statement, *arguments)
    if records:
        _compare(kind, statement, records[0])
    found: list[Row | None] = [None] * count
    for record in records:
        found[record["place"] - 1] = kind(*record)
    return found


async def fetch_only_row(connection: Connection, kind: type[Row], statement: str, *arguments: object) -> Row:
    """The row of a statement that always gives one: an aggregate, or an INSERT without a condition.

    Raises TypeError when the columns are not the fields of `kind`, AssertionError when there is no row.
    """
    row = await fetch_row(connection, kind, statement, *arguments)
    if row is None:
        raise AssertionError(f"no row came of {statement!r}")
    return row


async def fetch_value(
    connection: Connection, kind: type[Value], statement: str, *arguments: object
) -> Value | None:
    """The first column of the first row; None when there is no row, or the column is NULL.

    Raises TypeError when the value is no `kind`.
    """
    value: object = await connection.fetchval(statement, *arguments)
    if value is None or isinstance(value, kind):
        return value
    raise TypeError(f"{type(value).__name__} came of {statement!r}, and {kind.__name__} was asked for")


async def fetch_only_value(
    connection: Connection, kind: type[Value], statement: str, *arguments: object
) -> Value:
    """The value of a statement that always gives one, such as a count.

    Raises TypeError when the value is no `kind`, AssertionError when there is none.
    """
    value = await fetch_value(connection, kind, statement, *arguments)
    if value is None:
        raise AssertionError(f"no value came of {statement!r}")
    return value


async def fetch_values(
    connection: Connection, kind: type[Value], statement: str, *arguments: object
) -> list[Value]:
    """The first column of all rows, none of them NULL.

    Raises TypeError when a value is no `kind`.
    """
    values: list[object] = [record[0] for record in await connection.fetch(statement, *arguments)]
    found = [value for value in values if isinstance(value, kind)]
    if len(found) < len(values):
        raise TypeError(f"not every value of {statement!r} is {kind.__name__}")
    return found


def _compare(kind: type[msgspec.Struct], statement: str, record: asyncpg.Record) -> None:
    """Raises TypeError when the columns of a statement are not the fields of `kind`."""
    if _compared.get(statement) is kind:
        return
    names = tuple(record.keys())
    if names != kind.__struct_fields__:
        raise TypeError(
            f"{kind.__name__} has the fields {kind.__struct_fields__}, and the columns are {names}"
        )
    _compared[statement] = kind
