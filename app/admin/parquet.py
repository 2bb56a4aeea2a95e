"""An export's entries as Parquet: the columns of the CSV with their types, amounts as exact decimals.

Needs pyarrow, which is an extra and imported only here. What is written is handed on piece by
piece: memory holds one group of rows, however long the export is.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.accounts.exports import Entry
from app.admin.lines import COLUMNS, MONEY, flat
from app.core.holds import Billing

TIMES = ("created_at", "resolved_at")
FLAGS = ("stream", "charged_derived", "charge_mismatch")
COUNTS = (
    "status",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "total_tokens",
    "sdk_retry",
    "ttfb_ms",
    "duration_ms",
)

GROUP_ROWS = 10_000

HOW_TO_INSTALL = "Install it where the gateway runs: uv sync --extra parquet (or pip install pyarrow)."


def is_installed() -> bool:
    try:
        importlib.import_module("pyarrow")
    except ImportError:
        return False
    return True


class ParquetPieces:
    """Takes entries, gives bytes."""

    def __init__(self, billing: Billing = Billing.CHARGED) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._pa = pa
        self._billing = billing
        self._schema = pa.schema([(column, self._type(column)) for column in COLUMNS])
        self._written = _Written()
        self._writer: Any = pq.ParquetWriter(
            pa.PythonFile(self._written, mode="w"), self._schema, compression="zstd", coerce_timestamps="ms"
        )
        self._waiting: list[dict[str, Any]] = []

    def add(self, entries: Sequence[Entry]) -> bytes:
        self._waiting += [flat(entry, self._billing) for entry in entries]
        if len(self._waiting) >= GROUP_ROWS:
            self._write()
        return self._written.take()

    def end(self) -> bytes:
        if self._waiting:
            self._write()
        self._writer.close()
        return self._written.take()

    def _write(self) -> None:
        rows, self._waiting = self._waiting, []
        arrays = [
            self._pa.array([_typed(column, row[column]) for row in rows], type=self._schema.field(column).type)
            for column in COLUMNS
        ]
        self._writer.write_table(self._pa.Table.from_arrays(arrays, schema=self._schema))

    def _type(self, column: str) -> Any:
        if column in MONEY:
            return self._pa.decimal128(38, 12)
        if column in TIMES:
            return self._pa.timestamp("ms", tz="UTC")
        if column in FLAGS:
            return self._pa.bool_()
        if column in COUNTS:
            return self._pa.int64()
        return self._pa.list_(self._pa.string()) if column == "tags" else self._pa.string()


class _Written:
    """A file that only goes forward; what is written is taken away."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        self._position += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def _typed(column: str, value: Any) -> Any:
    if value is not None and column in MONEY:
        return Decimal(value)
    return datetime.fromisoformat(value) if value is not None and column in TIMES else value
