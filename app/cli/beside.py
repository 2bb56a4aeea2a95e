"""The way to the gateway on this machine: its Unix socket, whose file permission is the authority.

With the standard library, and without an event loop: to import httpx takes a quarter of what such a command takes.
Called by `client`; `health` has the same connection.
"""

from __future__ import annotations

import contextlib
import json as json_module
import socket
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from app.cli.client import API, READ_TIMEOUT_SECONDS, TIMEOUT_SECONDS, Gateway, given
from app.cli.frame import Failure
from app.cli.person import user_name

PIECE_BYTES_MAX = 65_536


class UnixConnection(HTTPConnection):
    """HTTP through a Unix socket. `timeout`: seconds until there is a connection, and then for each answer."""

    def __init__(self, path: Path, timeout: float, answer_timeout: float) -> None:
        super().__init__("gateway", timeout=timeout)
        self._path = path
        self._answer_timeout = answer_timeout

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
        self.sock.settimeout(self._answer_timeout)


class Beside(Gateway):
    """Each request has a connection of its own: between two a person may think for longer than one is kept."""

    def __init__(self, path: Path, where: str) -> None:
        self.where = where
        self._path = path

    def download(self, path: str, query: Mapping[str, Any] | None, head: dict[str, str]) -> Iterator[bytes]:
        with self._answer("GET", path, query, None) as answer:
            head.update((name.lower(), value) for name, value in answer.getheaders())
            while piece := answer.read1(PIECE_BYTES_MAX):
                yield piece
            if answer.length:
                raise IncompleteRead(b"", answer.length)

    def _call(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:
        with self._answer(method, path, query, body) as answer:
            return json_module.loads(answer.read())

    @contextlib.contextmanager
    def _answer(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: Mapping[str, Any] | None
    ) -> Iterator[HTTPResponse]:
        """An answer of success, to be read in here. Raises: `Failure`."""
        connection = UnixConnection(self._path, TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)
        headers: dict[str, Any] = {"x-irg-actor": user_name().encode()}
        if body is not None:
            headers["content-type"] = "application/json"
        content = None if body is None else json_module.dumps(body, ensure_ascii=False).encode()
        target = _target(path, query)
        try:
            connection.request(method, target, content, headers)
            answer = connection.getresponse()
            if answer.length is None and not answer.chunked:  # nobody could tell whether it is whole
                raise self._no_gateway()
            if not 200 <= answer.status < 300:
                raise self._refusal(answer.status, answer.read())
            yield answer
        except (OSError, HTTPException, ValueError) as error:
            raise self._sentence(error) from None
        finally:
            connection.close()

    def _sentence(self, error: Exception) -> Failure:
        if isinstance(error, TimeoutError):
            return self._not_in_time()
        if isinstance(error, IncompleteRead):
            return self._broke_off()
        if isinstance(error, OSError):  # that a connection was closed without an answer, too
            return self._not_reached(error)
        return self._no_gateway()


def _target(path: str, query: Mapping[str, Any] | None) -> str:
    said = {name: str(value).lower() if isinstance(value, bool) else value for name, value in given(query).items()}
    return API + path + ("?" + urlencode(said, doseq=True) if said else "")
