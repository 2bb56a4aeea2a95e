"""Real reverse proxies in front of a gateway: each with one connection to it, shared by all of its clients.

So a request that one of both understands differently from the other spoils the next client's. `.ci/engine`
installs them; a missing one is a failed test.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

START_SECONDS_MAX = 20.0

NGINX = """
daemon off; master_process off; pid nginx.pid; error_log stderr error;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  client_header_timeout 1s; client_body_timeout 1s; client_max_body_size 100m; send_timeout 5s;
  underscores_in_headers on;
  upstream gateway {{ server {gateway}; keepalive 1; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://gateway; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_request_buffering off; proxy_buffering off;
    }}
  }}
}}
"""

HAPROXY = """
global
  maxconn 512
defaults
  mode http
  retries 1
  timeout connect 5s
  timeout http-request 1s
  timeout client 1s
  timeout server 20s
frontend clients
  bind 127.0.0.1:{port}
  default_backend gateway
backend gateway
  http-reuse always
  server gateway {gateway} pool-max-conn 1
"""


def executable(name: str) -> str:
    """Where Debian puts servers, which is not on everybody's path."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert found is not None, f"{name} is missing: run .ci/engine"
    return found


@contextlib.contextmanager
def front_before(kind: str, gateway: str, directory: Path) -> Iterator[int]:
    """The port of an `nginx` or a `haproxy` in front of `gateway` (host:port)."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    text, config = {"nginx": NGINX, "haproxy": HAPROXY}[kind], directory / f"{kind}.conf"
    config.write_text(text.format(gateway=gateway, port=port))
    flags = ["-p", str(directory), "-c", str(config)] if kind == "nginx" else ["-db", "-f", str(config)]
    with (directory / f"{kind}.log").open("wb") as log:
        child = subprocess.Popen([executable(kind), *flags], cwd=directory, stdout=log, stderr=log)
        try:
            _await_port(child, port, directory / f"{kind}.log")
            yield port
        finally:
            child.terminate()
            child.wait()


def _await_port(child: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end and child.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError("the front did not start: " + log.read_text("utf-8", "replace")[-2000:])
