"""The command's side of the Unix socket: what is asked there, and every way in which no answer comes of it."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app.cli import beside
from app.cli.beside import Beside
from app.cli.frame import Code, Failure
from app.cli.over_http import HttpGateway

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Name: Value\r\n\r\n{}"
CUT = OK.replace(b"Length: 2", b"Length: 9")
CUT_REFUSAL = CUT.replace(b"200 OK", b"409 Conflict")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n"


class Listener:
    """Gives each connection the next of `answers` and ends it; None: nothing, until the other side leaves."""

    def __init__(self, path: Path) -> None:
        self.answers: list[bytes | None] = []
        self.asked: list[bytes] = []  # what came, whole
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while True:
            one, _ = self.socket.accept()
            with one:
                asked = one.recv(65_536)
                if not asked:
                    return
                while not _whole(asked):
                    asked += one.recv(65_536)
                self.asked.append(asked)
                if (answer := self.answers.pop(0)) is None:
                    one.recv(1)
                else:
                    one.sendall(answer)


def _whole(asked: bytes) -> bool:
    head, end, body = asked.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return bool(end) and len(body) >= length


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="irg-") as directory:
        yield Path(directory) / "sock"


@pytest.fixture
def listener(path: Path) -> Iterator[Listener]:
    made = Listener(path)
    yield made
    with socket.socket(socket.AF_UNIX) as last:  # says nothing: so the thread ends
        last.connect(str(path))
    made.thread.join(10)
    made.socket.close()


@pytest.fixture
def gateway(path: Path) -> Beside:
    return Beside(path, "The gateway")


def test_a_question_says_who_asks_and_holds_what_was_said(listener: Listener, gateway: Beside) -> None:
    """Nothing of what was left out; truths in JSON's words; the name as UTF-8, and no credential: the file is one."""
    listener.answers = [OK, OK]
    assert gateway.get("keys", {"team": "a b&c", "state": None, "tag": ["x", "y"], "all": True}) == {}
    gateway.post("keys", {"name": "zoë"})
    got, posted = (asked.partition(b"\r\n\r\n") for asked in listener.asked)
    asked = urlsplit(got[0].split(b" ")[1].decode())
    assert asked.path == "/admin/v1/keys"
    assert parse_qs(asked.query) == {"team": ["a b&c"], "tag": ["x", "y"], "all": ["true"]}
    assert b"x-irg-actor: " in got[0]
    assert b"authorization" not in got[0].lower()
    assert b"content-type: application/json" in posted[0].lower()
    assert json.loads(posted[2]) == {"name": "zoë"}


def test_a_person_may_think_between_two_requests(listener: Listener, gateway: Beside) -> None:
    """Each has a connection of its own: one that was kept would have been closed meanwhile."""
    listener.answers = [OK, OK]
    assert [gateway.get("keys"), gateway.delete("keys/x")] == [{}, {}]


def test_pieces_come_as_they_come_behind_their_head(listener: Listener, gateway: Beside) -> None:
    """Whatever the answer's framing is."""
    listener.answers = [CHUNKED + b"0\r\n\r\n", OK]
    head: dict[str, str] = {}
    assert b"".join(gateway.stream("events")) == b"abcde"
    assert b"".join(gateway.download("export", {}, head)) == b"{}"
    assert head["x-name"] == "Value"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (CUT, "broke off its answer"),
        (CUT_REFUSAL, "broke off its answer"),
        (CHUNKED, "broke off its answer"),
        (b"", "cannot be reached: "),
        (OK[:30], "not as a gateway does"),
        (b"220 mail.example.com ESMTP\r\n", "not as a gateway does"),
    ],
)
def test_an_answer_that_is_cut_is_none(answer: bytes, sentence: str, listener: Listener, gateway: Beside) -> None:
    """In pieces too: an export that misses its end must not look whole."""
    listener.answers = [answer, answer]
    with pytest.raises(Failure, match=sentence):
        gateway.get("keys")
    with pytest.raises(Failure, match=sentence):
        list(gateway.stream("export"))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (CUT, "broke off its answer"),
        (CUT_REFUSAL, "broke off its answer"),
        (CHUNKED, "broke off its answer"),
        (b"", "cannot be reached: "),
    ],
)
def test_an_answer_that_is_cut_on_its_way_over_the_network_is_none(
    answer: bytes, sentence: str, listener: Listener, path: Path
) -> None:
    """In the same words."""
    listener.answers = [answer, answer]
    client = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://gateway")
    with asyncio.Runner() as runner:
        gateway = HttpGateway(runner, client, "The gateway")
        with pytest.raises(Failure, match=sentence):
            gateway.get("keys")
        with pytest.raises(Failure, match=sentence):
            list(gateway.stream("export"))
        gateway.close()


def test_a_silent_gateway_is_waited_for_within_limits(
    listener: Listener, gateway: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a sentence says so."""
    monkeypatch.setattr(beside, "READ_TIMEOUT_SECONDS", 0.05)
    listener.answers = [None]
    with pytest.raises(Failure, match="did not answer in time"):
        gateway.get("keys")


def test_what_is_no_gateway_is_told_from_one(listener: Listener, gateway: Beside) -> None:
    """By its answers: no JSON, or a refusal that names no reason."""
    listener.answers = [OK.replace(b"{}", b"<>"), b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n<>"]
    with pytest.raises(Failure, match="The gateway answered, but not as a gateway does"):
        gateway.get("keys")
    with pytest.raises(Failure, match="answered with status 404, not as a gateway does"):
        gateway.get("keys")


def test_a_refusal_is_the_gateways_sentence(listener: Listener, gateway: Beside) -> None:
    """With the exit code of its kind."""
    body = b'{"error": {"message": "Taken already."}}'
    listener.answers = [b"HTTP/1.1 409 Conflict\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)]
    with pytest.raises(Failure, match=r"^Taken already\.$") as refused:
        gateway.post("keys", {})
    assert refused.value.code == Code.CONFLICT


def test_a_socket_without_a_gateway_is_said(gateway: Beside) -> None:
    """The file is gone."""
    with pytest.raises(Failure, match=r"The gateway cannot be reached: .*No such file"):
        gateway.get("keys")
