"""What is measured: a process on a core of its own. Here: how one begins and ends, nginx, and the references.

The gateway and its kinds are in `gateways`, gateways of others in `peers`; who is called what in `stand`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.bench.machine import family, nginx, pinned
from tests.bench.upstream import CA_FILE, Upstream
from tests.bench.windows import Target
from tests.scenarios.gateway_process import free_port
from tests.scenarios.tools import ROOT

START_SECONDS_MAX = 90.0  # a peer may take half a minute
END_SECONDS_MAX = 20.0


UPSTREAM_KEY = "bench-upstream-key-0123456789"


NGINX = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log;
worker_rlimit_nofile {descriptors};
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    keepalive_timeout 75;
    keepalive_requests 1000000000;
    tcp_nodelay on;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream there {{
        server {upstream};
        keepalive 8192;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        client_max_body_size 0;
        location / {{
            proxy_pass {scheme}://there;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Authorization "Bearer {key}";
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_read_timeout 900;
            proxy_send_timeout 900;
            proxy_ssl_trusted_certificate {ca_file};
            proxy_ssl_verify on;
            proxy_ssl_name localhost;
            proxy_ssl_session_reuse on;
        }}
    }}
}}
"""


class NotThere(Exception):
    """A subject cannot run on this machine; the text says what is missing."""


@dataclass(frozen=True)
class Place:
    """Where a subject runs: its core, its upstream, a directory of its own."""

    core: int
    upstream: Upstream
    directory: Path

    @property
    def tls(self) -> bool:
        return self.upstream.url.startswith("https")


@dataclass
class Running:
    """A subject that listens. `end` it."""

    name: str
    target: Target
    process: subprocess.Popen[bytes]
    log: IO[bytes]

    def end(self) -> None:
        """As SIGTERM ends it, or, when it takes too long, at once: a bench has nothing to lose."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


# Makes the subject's directory its own, and begins it. Raises: `NotThere`, `ChildProcessError`.
Starter = Callable[[Place], Running]


def spawn(
    name: str,
    place: Place,
    command: list[str],
    port: int,
    *,
    keys: list[str],
    environment: Mapping[str, str] | None = None,
) -> Running:
    log = (place.directory / "log").open("wb")
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    process = subprocess.Popen(
        pinned(place.core, *command),
        cwd=place.directory,
        env=kept | {"PYTHONPATH": str(ROOT)} | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    file = place.directory / "keys"
    file.write_text("\n".join(keys))
    running = Running(name, Target(port, file, ()), process, log)
    _until_it_listens(running, place.directory / "log")
    running.target = Target(port, file, tuple(family(process.pid)))
    return running


def _until_it_listens(running: Running, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and running.process.poll() is None:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", running.target.port)) == 0:
                return
        time.sleep(0.02)
    running.process.kill()
    running.process.wait()
    raise ChildProcessError(f"{running.name} did not start: {log.read_text()[-2000:]}")


# --- the limit ----------------------------------------------------------------------------------------------


def nginx_proxy(place: Place) -> Running:
    path = nginx()
    if path is None:
        raise NotThere("nginx is not installed: no limit to compare with")
    port = free_port()
    configuration = place.directory / "nginx.conf"
    configuration.write_text(
        NGINX.format(
            directory=place.directory,
            descriptors=65_536,
            connections=32_768,
            upstream=place.upstream.url.partition("//")[2],
            scheme=place.upstream.url.partition(":")[0],
            port=port,
            key=UPSTREAM_KEY,
            ca_file=CA_FILE,
        )
    )
    return spawn("nginx", place, [path, "-c", str(configuration)], port, keys=["any"])


# --- references -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """`on_uvicorn`: an ASGI application; else a program that is told its port."""

    module: str
    on_uvicorn: bool = True

    def __call__(self, place: Place) -> Running:
        port = free_port()
        environment = {"BENCH_UPSTREAM_URL": place.upstream.url} | (
            {"BENCH_CA_FILE": str(CA_FILE)} if place.tls else {}
        )
        module = f"tests.bench.references.{self.module}"
        command = [sys.executable, "-m", module, str(port)]
        if self.on_uvicorn:
            command = [
                *(sys.executable, "-m", "uvicorn", f"{module}:app", "--port", str(port)),
                *("--host", "127.0.0.1", "--no-access-log", "--log-level", "warning", "--backlog", "4096"),
                *("--http", "httptools", "--loop", "uvloop", "--timeout-keep-alive", "75"),
            ]
        return spawn(self.module, place, command, port, keys=["any"], environment=environment)
