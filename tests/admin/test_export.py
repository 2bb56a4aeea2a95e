"""The export as a file: safe in spreadsheets, complete, and never held in memory whole."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from app.admin.lines import COLUMNS, FORMULA_STARTS, csv_head, csv_lines, json_lines
from app.admin.schemas import request_shape
from app.core.clock import now
from app.core.records import Outcome, State
from app.core.views import RequestRecord
from tests.admin.books import Books

NASTY = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.builds(str.__add__, st.sampled_from(FORMULA_STARTS), st.text("=1+'\",;\r\n\t", max_size=8)),
)


def entry(**fields: Any) -> RequestRecord:
    values: dict[str, Any] = {
        "id": "req_1",
        "created_at": now(),
        "key": "alice",
        "key_id": "key_1",
        "team": None,
        "tags": (),
        "model": "m",
        "stream": False,
        "state": State.UNKNOWN,
        "outcome": Outcome.COMPLETED,
        "true_cost_picodollars": None,
    }
    return RequestRecord(**(values | fields))


@given(NASTY, NASTY, NASTY)
@example('=HYPERLINK("http://x")', "+1", "\t=1")
@example("@SUM(1)", "-2+3", "\r=1")
def test_no_text_cell_can_be_a_formula(model: str, key: str, reason: str) -> None:
    """A spreadsheet reads every cell as text, and what was there can be read back."""
    text = csv_head() + csv_lines([entry(model=model, key=key, unknown_reason=reason)])
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert not any(cell.startswith(FORMULA_STARTS) for cell in row.values())
    for column, value in (("model", model), ("key", key), ("unknown_reason", reason)):
        assert row[column] == ("'" + value if value.startswith(FORMULA_STARTS) else value)


@given(NASTY, NASTY)
def test_json_lines_are_one_a_line(model: str, key: str) -> None:
    """Whatever names hold, a line is a request in its shape."""
    lines = json_lines([entry(model=model, key=key), entry()]).split("\n")
    assert [json.loads(line)["model"] for line in lines[:-1]] == [model, "m"]
    assert lines[-1] == ""


def test_csv_has_the_same_columns_flattened() -> None:
    """The shape's fields in its order, the token counts where `usage` stood."""
    fields = list(request_shape(entry()).model_dump())
    before, after = fields[: fields.index("usage")], fields[fields.index("usage") + 1 : -2]
    tokens = ["input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "total_tokens"]
    resolved = ["resolved_at", "resolved_by", "resolved_reason"]
    assert [*before, *tokens, *after, *resolved, "counted_from", "adjusts"] == COLUMNS
    (row,) = csv.DictReader(io.StringIO(csv_head() + csv_lines([entry(tags=("b", "a"), stream=True)])))
    assert (row["tags"], row["stream"], row["true_cost"], row["hold"]) == ("b,a", "true", "", "0.00")


async def test_an_export_comes_in_pieces(books: Books) -> None:
    """2,500 rows are never one piece of text; in order, each once."""
    await books.key()
    booked = [await books.open() for _ in range(2500)]
    pieces = []
    async with books.client.stream("GET", "/admin/v1/export", params={"format": "jsonl"}) as answer:
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        assert answer.headers["content-disposition"] == 'attachment; filename="requests.jsonl"'
        async for piece in answer.aiter_bytes():
            pieces.append(piece)
    assert len(pieces) == 3
    assert [json.loads(line)["id"] for line in b"".join(pieces).splitlines()] == booked


async def test_an_empty_export_is_an_empty_file(books: Books) -> None:
    """CSV still has its head."""
    assert (await books.client.get("/admin/v1/export", params={"format": "jsonl"})).text == ""
    assert (await books.client.get("/admin/v1/export", params={"format": "csv"})).text == csv_head()


async def test_a_format_must_be_asked_for(books: Books) -> None:
    """And be one that there is."""
    assert (await books.refused("GET", "export"))[1]["param"] == "format"
    assert "csv" in (await books.refused("GET", "export?format=xlsx"))[1]["message"]
