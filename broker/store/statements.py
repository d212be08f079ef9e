"""Statements that are made once and sent often, straight to the driver.

Building, hashing and adapting a statement costs more than the database takes to run a small one; where a
worker waits for it before every window, that is saved.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class now(FunctionElement[int]):  # noqa: N801 — named like the SQL functions it stands among
    """Now in UTC milliseconds by the database's clock, the one that all workers share."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(now, "postgresql")  # type: ignore[no-untyped-call,untyped-decorator,unused-ignore]
def _now_postgresql(_element: now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"


@compiles(now, "sqlite")  # type: ignore[no-untyped-call,untyped-decorator,unused-ignore]
def _now_sqlite(_element: now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


class Prepared:
    """A statement whose values come by the names of its parameters."""

    def __init__(self, statement: sa.ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {}

    def bound(self, dialect: sa.Dialect, values: dict[str, Any]) -> tuple[str, list[Any]]:
        """Its text in `dialect` and the values in the order in which the driver wants them."""
        found = self._compiled.get(dialect.name)
        if found is None:
            compiled = self._statement.compile(dialect=dialect)
            assert isinstance(compiled, SQLCompiler)
            order = tuple(compiled.positiontup or ())
            found = self._compiled[dialect.name] = (str(compiled), order, dict(compiled.params))
        text, order, constants = found
        return text, [values[name] if name in values else constants[name] for name in order]
