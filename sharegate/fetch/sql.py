"""The one statement of a shape, for PostgreSQL. Pure.

Built by SQLAlchemy Core once and then only bound and run. It

- selects the permitted columns and nothing else, cast to text where the wire wants text, so that
  neither a driver nor a rounding stands between (an ``infinity`` stays recognisable); of a text no
  more than shows that it is too long to leave;
- compares key columns for equality, the only comparison there is. A text key is bound without a
  cast and so has the column's own type: a cast would keep ``char(18)`` from using its index. A
  day is bound as text and read by PostgreSQL: asyncpg would make the last one, 9999-12-31,
  ``infinity``;
- sets ``application_name`` to the exchange id in an uncorrelated subquery, which PostgreSQL
  plans as a one-time filter above the scan: run once, before any row is looked for, whether or
  not one is found;
- is limited, and *not* ordered: ordering makes the source read and sort every match before it
  can stop at the limit, so a question of ten rows could cost a million. Which rows come when
  more match than may leave is the source's choice, and the answer says that its limit was reached.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.types import TypeEngine

from sharegate.fetch.plan import Column, Plan, Shape
from sharegate.model.catalogue import MAX_TEXT, FieldType
from sharegate.model.ids import text

_SHAPES = 512  # a shape costs about a millisecond to build and 2 KB to keep
# Where a database's encoding is SQL_ASCII, its characters are bytes: so many still are more
# characters than may leave, so that what was cut is not taken for the whole.
_LONGEST: sa.ColumnElement[int] = sa.literal_column(str(4 * MAX_TEXT + 1))
_AS_IT_IS = frozenset({FieldType.INTEGER, FieldType.BOOLEAN})
_READ_THERE = frozenset({FieldType.DATE, FieldType.TIMESTAMP})
_BOUND: dict[FieldType, TypeEngine[Any]] = {
    FieldType.TEXT: sa.types.NullType(),
    FieldType.INTEGER: sa.BigInteger(),
    FieldType.DECIMAL: sa.Numeric(),
    FieldType.BOOLEAN: sa.Boolean(),
    FieldType.DATE: sa.Date(),
    FieldType.TIMESTAMP: sa.TIMESTAMP(timezone=True),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text with ``$n`` placeholders: the exchange id, each key, each region, the row limit.

    Attributes:
        text_keys: The placeholders, from 0, whose type the column alone decides.
    """

    text: str
    text_keys: tuple[int, ...]


def arguments(plan: Plan, exchange_id: UUID) -> tuple[str | int | bool | Decimal, ...]:
    """What to bind to the statement of the plan's shape, in the order of its placeholders."""
    values = (each.isoformat() if isinstance(each, date) else each for each in plan.values)
    return (text(exchange_id), *values, plan.row_limit)


@lru_cache(maxsize=_SHAPES)
def statement(shape: Shape) -> Statement:
    """The statement of a shape."""
    bound = (*shape.keys, *shape.regions)
    names = dict.fromkeys(column.name for column in (*shape.columns, *bound))
    schema, relation = shape.relation
    table = sa.table(
        quoted_name(relation, quote=True),
        *(sa.column(quoted_name(name, quote=True)) for name in names),
        schema=quoted_name(schema, quote=True),
    )
    reconcilable = (
        sa.select(
            sa.func.pg_catalog.set_config(
                sa.literal_column("'application_name'"),
                sa.bindparam("exchange_id", type_=sa.Text()),
                sa.false(),
            )
        )
        .scalar_subquery()
        .is_not(None)
    )
    equal = [
        table.c[key.name] == _asked_by(f"key_{place}", key.type)
        for place, key in enumerate(shape.keys)
    ]
    inside = [
        sa.func.pg_catalog.starts_with(
            sa.cast(table.c[region.name], sa.Text()),
            sa.bindparam(f"key_{place}", type_=sa.Text()),
        )
        for place, region in enumerate(shape.regions, start=len(shape.keys))
    ]
    compiled = (
        sa.select(*(_selected(table, column) for column in shape.columns))
        .where(reconcilable, *equal, *inside)
        .limit(sa.bindparam("row_limit", type_=sa.BigInteger()))
        .compile(dialect=dialect())  # type: ignore[no-untyped-call]
    )
    wanted = ["exchange_id", *(f"key_{place}" for place in range(len(bound))), "row_limit"]
    if compiled.positiontup != wanted:  # bound in another order, a key would become the limit
        raise AssertionError(compiled.positiontup)
    return Statement(
        str(compiled),
        tuple(n for n, key in enumerate(shape.keys, start=1) if key.type is FieldType.TEXT),
    )


def _selected(table: sa.TableClause, column: Column) -> sa.ColumnElement[object]:
    there: sa.ColumnElement[object] = table.c[column.name]
    if column.type in _AS_IT_IS:
        return there
    there = sa.cast(there, sa.Text())
    if column.type is FieldType.TEXT:
        there = sa.func.pg_catalog.left(there, _LONGEST)
    return there


def _asked_by(name: str, kind: FieldType) -> sa.ColumnElement[Any]:
    if kind in _READ_THERE:
        return sa.cast(sa.bindparam(name, type_=sa.Text()), _BOUND[kind])
    return sa.bindparam(name, type_=_BOUND[kind])
