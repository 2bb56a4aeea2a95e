"""The figures as tables: on a terminal, and as the bench's section of RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.found import OTHERS_MAX, Found
from tests.bench.goals import Judged, judged

RESULTS = Path(__file__).parent / "RESULTS.md"
BEGIN, END = "<!-- begin: python -m tests.bench -->", "<!-- end: python -m tests.bench -->"

# Below this much of its core nginx was waiting for the load: it could do more than is told of it.
SATURATED = 0.93

# Of each group: measures in order with their headings and digits. The first one, and that of the processor, also as a
# ratio to nginx.
COLUMNS: dict[str, tuple[tuple[str, str, int], ...]] = {
    "json": (
        ("requests_per_second", "requests/s", 0),
        ("p50_ms", "p50 ms", 2),
        ("p99_ms", "p99 ms", 2),
        ("cpu_us_per_request", "CPU µs each", 1),
        ("busy", "busy", 2),
        ("load_busy", "load busy", 2),
    ),
    "sse": (
        ("events_per_second", "events/s", 0),
        ("delay_p50_ms", "delay p50 ms", 2),
        ("delay_p99_ms", "p99 ms", 2),
        ("cpu_us_per_event", "CPU µs each", 1),
        ("busy", "busy", 2),
        ("load_busy", "load busy", 2),
    ),
    "first-byte": (
        ("first_byte_p99_ms", "p99 ms", 2),
        ("first_byte_p50_ms", "p50 ms", 2),
        ("busy", "busy", 2),
        ("load_busy", "load busy", 2),
    ),
    "idle": (
        ("kib_per_stream", "KiB a stream", 1),
        ("streams", "streams", 0),
        ("mib_before", "MiB before", 1),
        ("mib_then", "MiB then", 1),
    ),
    "in-flight": (
        ("times", "times", 2),
        ("p99_ms", "usual p99 ms", 2),
        ("p99_beside_ms", "p99 beside ms", 2),
        ("bodies_per_second", "10 MB bodies/s", 1),
    ),
}

Rows = list[list[str]]


def columns(found: Found) -> tuple[tuple[str, str, int], ...]:
    """Those that this case tells."""
    told = next((each for rounds in found.figures.values() for each in rounds if isinstance(each, dict)), {})
    if "streams" in told:
        return COLUMNS["idle"]
    if "times" in told:
        return COLUMNS["in-flight"]
    return COLUMNS["sse" if "events_per_second" in told else "json"]


def rows(found: Found, shown: Sequence[tuple[str, str, int]]) -> Rows:
    """A heading and a row for each subject."""
    compared = [shown[0], *(column for column in shown[1:] if column[0].startswith("cpu"))]
    headings = [
        "",
        *(heading for _, heading, _ in shown),
        *(f"{heading.split()[0]} of nginx" for _, heading, _ in compared),
    ]
    table = [headings]
    for name in found.figures:
        cells = [number(found.median(name, measure), digits) for measure, _, digits in shown]
        ratios = [number(found.ratio(name, "nginx", measure), 3) for measure, _, _ in compared]
        table.append([name, *cells, *ratios])
    return table


def remarks(found: Found) -> list[str]:
    """What a reader must know beside the figures."""
    said = [f"{name}: {len(why)} windows void: {why[0]}" for name in found.figures if (why := found.void(name))]
    said += [f"{name}: not measured: {why}" for name, why in found.missing.items()]
    said += [
        f"{name}: some answers were not whole in time" for name in found.figures if found.median(name, "unfinished")
    ]
    if found.others > OTHERS_MAX:
        said.append(f"others had {found.others:.2f} of the cores meanwhile: take the figures with care")
    busy, load_busy = found.median("nginx", "busy"), found.median("nginx", "load_busy")
    if busy is not None and load_busy is not None and busy < SATURATED <= load_busy:
        said.append(f"nginx had {busy:.2f} of its core, load and upstream all of theirs: it could do more.")
    return said


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


# --- on a terminal -----------------------------------------------------------------------------------------


def plain(table: Rows) -> str:
    widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
    lines = []
    for row in table:
        first, *rest = (
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  " + "  ".join([first, *rest]))
    return "\n".join(lines)


def case_text(name: str, group: str, found: Found) -> str:
    shown = COLUMNS.get(group) or columns(found)
    return "\n".join([name, plain(rows(found, shown)), *(f"  {remark}" for remark in remarks(found))])


def goal_rows(verdicts: Sequence[Judged]) -> Rows:
    found = [[one.goal.figure, one.goal.text, one.value_text, one.verdict] for one in verdicts]
    return [["figure", "goal", "found", ""], *found]


# --- RESULTS.md ------------------------------------------------------------------------------------------------


def markdown(table: Rows) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def section(results: Mapping[str, tuple[str, Found]], machine: Sequence[str], command: str) -> str:
    """`results`: by the case's name, its group and what it found."""
    parts = [
        f"`{command}`",
        "\n".join(f"- {line}" for line in machine),
        markdown(goal_rows(judged(_only_found(results)))),
    ]
    for name, (group, found) in results.items():
        table = markdown(rows(found, COLUMNS.get(group) or columns(found)))
        parts.append("\n\n".join([f"### {name}", table, *remarks(found)]))
    return "\n\n".join(parts)


def _only_found(results: Mapping[str, tuple[str, Found]]) -> dict[str, Found]:
    return {name: found for name, (_, found) in results.items()}


def write(text: str, path: Path = RESULTS) -> None:
    """Puts the section between its marks; what others wrote around it stays."""
    known = path.read_text() if path.exists() else f"# What the bench found\n\n{BEGIN}\n{END}\n"
    before, _, rest = known.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{path}: the marks are missing: {BEGIN} {END}")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
