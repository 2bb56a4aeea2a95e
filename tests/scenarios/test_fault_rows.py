"""The network between gateway and upstream fails in every way: what the client gets, what the ledger then holds.

Each fault against a real simulator through the fault proxy; the simulator's bill judges each row.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from app.core.budgets import parse_budget
from app.core.records import Outcome, State
from app.core.views import RequestRecord
from app.simulator.child import SimulatorChild
from tests.harness import GatewayUnderTest, gateway_before
from tests.scenarios.fault_proxy import Act, Fault, FaultProxy, Way
from tests.scenarios.witnesses import Got, all_rows, ask, body_of, by_key, by_marker, explain, named
from tests.scripted_upstream import CA_FILE

pytestmark = pytest.mark.scenario

# Within a body shorter than the time for which it is collected, or it would be streamed; before the head longer than a
# busy machine keeps anybody waiting.
TIMES: dict[str, Any] = {"upstream_idle_seconds": 0.7, "upstream_timeout_seconds": 2.5}
# Where nothing is meant to be silent.
NO_SILENCE: dict[str, Any] = {"upstream_idle_seconds": 60, "upstream_timeout_seconds": 60}
# The end of an event that is the end of an HTTP chunk too.
EVENT_END = b"\n\n\r\n"
AT_ONCE = 24
LARGE = "x" * 400_000
BROKEN = (502, "upstream_disconnected")
LATE = (504, "upstream_timeout")


@dataclass(frozen=True)
class Case:
    """`error`: status and code of an answer that the gateway makes; None = a stream that is cut."""

    name: str
    fault: Fault
    error: tuple[int, str] | None = BROKEN
    stream: bool = False
    model: str = "sim/seed"
    input: str = "Say hello"
    event: bool = False  # the gateway's error event follows what came

    @property
    def times_out(self) -> bool:
        return self.fault.act is Act.STALL


def _both(case: Case) -> list[Case]:
    return [case, replace(case, name=f"{case.name}, asked for a stream", stream=True)]


def _cases() -> Iterator[Case]:
    for act in Act:
        error = LATE if act is Act.STALL else BROKEN
        yield from _both(Case(f"{act} before the head", Fault(act), error))
        yield from _both(Case(f"{act} inside the head", Fault(act, at_byte=40), error))
        yield Case(f"{act} inside the body", Fault(act, after=b"\r\n\r\n", at_byte=50), error)
        yield Case(f"{act} between two events", Fault(act, after=EVENT_END), None, stream=True, event=True)
        yield Case(f"{act} inside an event", Fault(act, after=EVENT_END, at_byte=60), None, stream=True)
        yield Case(f"{act} inside the request", Fault(act, Way.UP, at_byte=100_000), error, input=LARGE)


CASES = list(_cases())


_numbers = itertools.count()


@dataclass(frozen=True)
class Ran:
    """A case that was played, with the key of its own whose name is its marker."""

    case: Case
    got: Got

    @property
    def marker(self) -> str:
        return self.got.marker


async def _play(gateway: GatewayUnderTest, network: FaultProxy, cases: Sequence[Case]) -> list[Ran]:
    """All at once, each over a connection that has its fault."""
    marked = {f"{uuid.uuid4().hex[:8]}-{next(_numbers)}": case for case in cases}

    def plan(request: bytes) -> Fault:
        return next((case.fault for marker, case in marked.items() if marker.encode() in request), Fault())

    network.plan = plan
    budgets = (parse_budget("5/month"),)
    secrets = [await gateway.create_key(marker, budgets=budgets) for marker in marked]
    bodies = [{"model": case.model, "stream": case.stream, "input": case.input} for case in cases]
    asking = [ask(gateway, *one) for one in zip(secrets, marked, bodies, strict=True)]
    return [Ran(marked[got.marker], got) for got in await asyncio.gather(*asking)]


@contextlib.asynccontextmanager
async def _broken_network(simulator: SimulatorChild, directory: Path, tls: str | None, **settings: Any) -> Any:
    ca = {"upstream_ca_file": CA_FILE} if tls is not None else {}
    async with (
        FaultProxy(simulator.url, certificate=tls) as network,
        gateway_before(network.url, directory, **(TIMES | ca | settings)) as gateway,
    ):
        yield network, gateway


@pytest.mark.parametrize("tls", [None, "server.pem"], ids=["plain", "tls"])
async def test_what_breaks_after_the_request_was_sent_may_have_been_billed(
    simulator: SimulatorChild, tmp_path: Path, transport: str, tls: str | None
) -> None:
    """The row is unknown and keeps its hold; no SDK is told to try again; a stream keeps its prefix and is cut."""
    async with _broken_network(simulator, tmp_path, tls, upstream_transport=transport) as (network, gateway):
        played = await _play(gateway, network, CASES)
        rows, lines = by_key(await all_rows(gateway)), by_marker(simulator.bill())
        assert len(rows) == len(CASES)
        for ran in played:
            with named(ran.case.name):
                passed, row = network.passed[ran.marker], rows[ran.marker]
                _check_client(ran.case, ran.got, bytes(passed.answer))
                _check_row(ran.case, row)
                explain(row, lines.get(ran.marker), passed)
                assert (ran.marker in lines) is (ran.case.fault.way is Way.DOWN)
        assert network.doubled == []
        await _same_in_the_budgets(gateway, list(rows.values()))


def _check_client(case: Case, got: Got, passed: bytes) -> None:
    if case.error is not None:
        assert (got.status, got.error["code"], got.cut) == (*case.error, False)
        assert got.headers["x-should-retry"] == "false"
        return
    came = body_of(passed)[0]
    assert (got.status, got.cut, got.told) == (200, True, got.prefix.endswith(b"\n\n"))
    if case.fault.act is Act.RESET:  # it overtakes bytes
        assert came.startswith(got.prefix)
    else:
        assert (got.prefix, got.told) == (came, case.event)


def _check_row(case: Case, row: RequestRecord) -> None:
    outcome = Outcome.TIMED_OUT if case.times_out else Outcome.UPSTREAM_DISCONNECTED
    assert (row.state, row.outcome) == (State.UNKNOWN, outcome)
    assert (row.true_cost_picodollars, row.charged_picodollars) == (None, None)
    assert row.unknown_reason in {"upstream_timeout", "upstream_stalled", "upstream_reset", "upstream_eof"}
    assert row.unknown_reason.endswith(("timeout", "stalled")) is case.times_out
    assert row.kept_picodollars == row.hold_picodollars > 0


async def _same_in_the_budgets(gateway: GatewayUnderTest, rows: Sequence[RequestRecord]) -> None:
    """Nothing runs any more, so nothing is held for it; what unknown rows keep is counted as spent."""
    for row in rows:
        (budget,) = (await gateway.services.keyring.find(row.key)).budgets
        assert budget.held_picodollars == 0
        assert budget.spent_picodollars == row.kept_picodollars + (row.charged_picodollars or 0)
    assert (await gateway.services.reports.verify()).differences == ()


# --- nothing was sent ------------------------------------------------------------------------


@pytest.fixture
def knocked_full() -> Iterator[int]:
    """A port whose queue is full: the kernel drops whoever knocks."""
    with socket.socket() as listener, contextlib.ExitStack() as knockers:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            knocker = knockers.enter_context(socket.socket())
            knocker.setblocking(False)
            knocker.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])


async def _nothing_sent(url: str, directory: Path, simulator: SimulatorChild, **settings: Any) -> Got:
    before = len(simulator.bill().answers)
    async with gateway_before(url, directory, connect_timeout_seconds=0.4, **settings) as gateway:
        secret = await gateway.create_key(budgets=(parse_budget("5/month"),))
        got = await ask(gateway, secret, "unsent", {"model": "sim/seed", "input": "hi"})
        (row,) = await all_rows(gateway)
        assert (row.state, row.unknown_reason, row.kept_picodollars) == (State.FREE, None, 0)
        (budget,) = (await gateway.services.keyring.find("alice")).budgets
        assert (budget.spent_picodollars, budget.held_picodollars) == (0, 0)
    assert len(simulator.bill().answers) == before
    assert "x-should-retry" not in got.headers
    assert got.error["code"] == "upstream_unreachable"
    return got


async def test_an_upstream_that_cannot_be_found_or_reached_is_free(
    simulator: SimulatorChild, tmp_path: Path, transport: str, knocked_full: int
) -> None:
    """No such name, nobody there: 502, and an SDK may try again. Nobody opens in time: 504."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
        nowhere = f"https://{'x' * 64}.invalid"  # a label too long is refused before any server is asked
        for number, (url, status) in enumerate(
            [(nobody, 502), (nowhere, 502), (f"http://127.0.0.1:{knocked_full}", 504)]
        ):
            with named(url):
                directory = tmp_path / str(number)
                directory.mkdir()
                assert (await _nothing_sent(url, directory, simulator, upstream_transport=transport)).status == status


async def test_tls_that_does_not_come_about_is_free(simulator: SimulatorChild, tmp_path: Path, transport: str) -> None:
    """An authority nobody trusts, another host's certificate, no TLS at all, a silent or broken handshake."""
    trusting: dict[str, Any] = {"upstream_ca_file": CA_FILE, "upstream_transport": transport}
    async with (
        FaultProxy(simulator.url, certificate="server.pem") as unknown,
        FaultProxy(simulator.url, certificate="elsewhere.pem") as elsewhere,
        FaultProxy(simulator.url) as plain,
        _port_that(silent=True) as silent,
        _port_that(silent=False) as closing,
    ):
        cases: list[tuple[str, dict[str, Any], str, int]] = [
            (unknown.url, {"upstream_transport": transport}, "certificate not trusted", 502),
            (elsewhere.url, trusting, "certificate not trusted", 502),
            (plain.url.replace("http:", "https:"), trusting, "TLS handshake failed", 502),
            (f"https://127.0.0.1:{closing}", trusting, "TLS handshake failed", 502),
            (f"https://127.0.0.1:{silent}", trusting, "connect timed out", 504),
        ]
        for number, (url, settings, fault, status) in enumerate(cases):
            with named(f"{number} {fault}"):
                directory = tmp_path / str(number)
                directory.mkdir()
                got = await _nothing_sent(url, directory, simulator, **settings)
                assert got.status == status
                assert fault in got.error["message"]


@contextlib.asynccontextmanager
async def _port_that(*, silent: bool) -> Any:
    """Accepts, and then says nothing, or leaves."""
    writers: list[asyncio.StreamWriter] = []

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if not silent:
            writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


# --- wherever it is cut ----------------------------------------------------------------------


async def _cut_everywhere(
    simulator: SimulatorChild, directory: Path, transport: str, *, stream: bool, act: Act, positions: Sequence[int]
) -> None:
    """Settled with the bill's cost, or unknown and then no client has seen the end."""
    cases = [Case(f"{act} at byte {position}", Fault(act, at_byte=position), stream=stream) for position in positions]
    played: list[Ran] = []
    settings: dict[str, Any] = {"upstream_transport": transport, **NO_SILENCE}
    async with _broken_network(simulator, directory, None, **settings) as (network, gateway):
        for start in range(0, len(cases), AT_ONCE):
            played += await _play(gateway, network, cases[start : start + AT_ONCE])
        rows, lines = by_key(await all_rows(gateway)), by_marker(simulator.bill())
    print(act, len(played), "places")
    assert network.doubled == []
    for ran in played:
        with named(ran.case.name):
            row, passed, got = rows[ran.marker], network.passed[ran.marker], ran.got
            explain(row, lines[ran.marker], passed)
            if row.state is State.UNKNOWN:
                assert b'"response.completed"' not in got.prefix or not got.prefix.endswith(b"\n\n")
                assert got.cut or got.status == 502
            assert got.status == 502 or body_of(passed.answer)[0].startswith(got.prefix)


async def _length(simulator: SimulatorChild, directory: Path, transport: str, *, stream: bool) -> int:
    """Of one whole answer's raw bytes."""
    directory.mkdir()
    async with _broken_network(simulator, directory, None, upstream_transport=transport) as (network, gateway):
        (ran,) = await _play(gateway, network, [Case("whole", Fault(), stream=stream)])
    assert (ran.got.status, ran.got.cut) == (200, False)
    return len(network.passed[ran.marker].answer)


@pytest.mark.parametrize("stream", [False, True], ids=["body", "stream"])
async def test_an_answer_cut_at_any_byte(
    simulator: SimulatorChild, tmp_path: Path, transport: str, stream: bool
) -> None:
    """Places at random and every one near the end, with each kind of cut."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    length = await _length(simulator, tmp_path / "whole", transport, stream=stream)
    for act in (Act.CLOSE, Act.RESET):
        places = {*chance.sample(range(length), 24), *range(length - 24, length)}
        (tmp_path / act).mkdir()
        await _cut_everywhere(simulator, tmp_path / act, transport, stream=stream, act=act, positions=sorted(places))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("act", [Act.CLOSE, Act.RESET, Act.HALF_CLOSE])
@pytest.mark.parametrize("stream", [False, True], ids=["body", "stream"])
async def test_an_answer_cut_at_every_byte(
    simulator: SimulatorChild, tmp_path: Path, transport: str, stream: bool, act: Act
) -> None:
    """Every single place of it."""
    length = await _length(simulator, tmp_path / "whole", transport, stream=stream)
    (tmp_path / "cut").mkdir()
    await _cut_everywhere(simulator, tmp_path / "cut", transport, stream=stream, act=act, positions=range(length))


ODD = ["sim/crlf", "sim/bom", "sim/comments", "sim/done", "sim/invalid-utf8", "sim/no-final-blank-line"]


@pytest.mark.parametrize(
    ("piece_bytes", "models"), [(1, ["sim/seed", "sim/cr"]), (7, ["sim/gzip", *ODD])], ids=["1", "7"]
)
async def test_an_answer_that_comes_in_pieces_is_the_same(
    simulator: SimulatorChild, tmp_path: Path, transport: str, piece_bytes: int, models: list[str]
) -> None:
    """Split at every byte, up and down: byte for byte what the upstream sent, settled as billed."""
    cases = [
        Case(f"{model}, {stream=}", Fault(piece_bytes=piece_bytes), stream=stream, model=model)
        for model in models
        for stream in (False, True)
    ]
    async with _broken_network(simulator, tmp_path, None, upstream_transport=transport) as (network, gateway):
        played = await _play(gateway, network, cases)
        rows, lines = by_key(await all_rows(gateway)), by_marker(simulator.bill())
    for ran in played:
        with named(ran.case.name):
            assert (ran.got.status, ran.got.cut) == (200, False)
            assert (ran.got.content, True) == body_of(network.passed[ran.marker].answer)
            assert rows[ran.marker].state is State.SETTLED
            explain(rows[ran.marker], lines[ran.marker], network.passed[ran.marker])
