"""The bill: one line per answered create request, append-only, written before the answer's end leaves.

Written by the simulator's own process, read by tests and by whoever wants to compare a ledger
with it. A line is handed to the kernel in one write: a simulator killed afterwards has billed it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from app.simulator.amounts import exact_sum, picodollars, plain


@dataclass(frozen=True, slots=True)
class BillLine:
    """One answer.

    `told` names what the whole answer says usably: `true_cost`, `charged`, both, or `free` when
    it proves that nothing was billed. A ledger that saw the whole answer must know exactly that;
    nothing told = it must call the cost unknown.
    """

    response_id: str  # empty: an error, which tells none
    request_id: str | None  # the x-request-id that was answered; None: no head was sent
    model: str
    true_cost: Decimal
    charged: Decimal
    told: tuple[str, ...]
    stream: bool
    status: str  # of the response: completed, incomplete, failed; error: there is none
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    marker: str | None  # see `request.marker_of`
    sdk_retry: int
    at: str  # RFC 3339
    billed: bool = True  # False: both costs are 0
    charge_mismatch: bool = False  # the charge that is told is not the one that the true cost makes
    body_sha256: str | None = None  # of the body's bytes as they were sent

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class BillFile:
    """The writing side; one per simulator. Raises: `OSError` with a sentence when the file cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise OSError(error.errno, f"cannot write the bill {path} ({error.strerror})") from None

    def append(self, line: BillLine) -> None:
        """Raises: `OSError` when the disk refuses; then the answer's end must not leave."""
        fields = asdict(line) | {"true_cost": plain(line.true_cost), "charged": plain(line.charged)}
        content = json.dumps(fields).encode() + b"\n"
        if os.write(self._file, content) != len(content):
            raise OSError(f"{self.path}: the disk took only a part of a line")

    def close(self) -> None:
        os.close(self._file)


@dataclass(frozen=True, slots=True)
class Bill:
    """The reading side: answers in the order they were written, and exact sums over what was billed."""

    answers: tuple[BillLine, ...]

    @property
    def lines(self) -> tuple[BillLine, ...]:
        """What was billed."""
        return tuple(line for line in self.answers if line.billed)

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """The bill as it stands; a last line that is still being written is not in it.

        Raises: `ValueError` when the file is something else.
        """
        whole, _, _ = Path(path).read_bytes().rpartition(b"\n")
        try:
            return cls(tuple(_line(json.loads(line)) for line in whole.splitlines()))
        except (ValueError, TypeError, KeyError, ArithmeticError):
            raise ValueError(f"{path} is not a bill") from None

    def where(self, wanted: Callable[[BillLine], bool]) -> Bill:
        return Bill(tuple(line for line in self.answers if wanted(line)))

    def line(self, response_id: str) -> BillLine:
        """Raises: `LookupError` when the response was not billed exactly once."""
        found = [line for line in self.lines if line.response_id == response_id]
        if len(found) != 1:
            raise LookupError(f"{response_id} stands on the bill {len(found)} times")
        return found[0]

    @property
    def true_cost(self) -> Decimal:
        return exact_sum([line.true_cost for line in self.lines])

    @property
    def charged(self) -> Decimal:
        return exact_sum([line.charged for line in self.lines])

    @property
    def true_picodollars(self) -> int:
        """Each line rounded half-even to 10⁻¹² USD, then added: what a ledger's sum must be."""
        return sum(picodollars(line.true_cost) for line in self.lines)

    @property
    def charged_picodollars(self) -> int:
        return sum(picodollars(line.charged) for line in self.lines)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(fields: dict[str, Any]) -> BillLine:
    amounts = {name: Decimal(fields[name]) for name in ("true_cost", "charged")}
    return BillLine(**{**fields, **amounts, "told": tuple(fields["told"])})
