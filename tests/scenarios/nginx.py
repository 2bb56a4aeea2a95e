"""nginx as an operator runs it, with the configuration of this repository; `.ci/packages` installs it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from tests.scenarios.gateway_process import free_port
from tests.scenarios.tools import ROOT

CONFIGURATION = ROOT / "config/nginx/gateway.conf"
CERTIFICATES = ROOT / "tests/certificates"

# What stands around a file of /etc/nginx/conf.d, with every path in a directory of ours.
AROUND = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
    access_log {directory}/nginx-access.log;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/gateway.conf;
}}
"""


def nginx() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    assert found is not None, "nginx is missing: see .ci/packages"
    return found


def configured(directory: Path, changes: Mapping[str, str]) -> Path:
    """The configuration as it is shipped, but for these words of it: the whole file to start nginx with."""
    text = CONFIGURATION.read_text()
    for shipped, ours in changes.items():
        assert text.count(shipped) == 1, shipped
        text = text.replace(shipped, ours)
    (directory / "gateway.conf").write_text(text)
    whole = directory / "nginx.conf"
    whole.write_text(AROUND.format(directory=directory))
    return whole


def tls_files() -> dict[str, str]:
    return {
        "/etc/nginx/tls/gateway.pem": str(CERTIFICATES / "server.pem"),
        "/etc/nginx/tls/gateway.key": str(CERTIFICATES / "server.key"),
    }


async def checked(whole: Path) -> str:
    """What `nginx -t` says. Fails when that is not that all is well."""
    process = await asyncio.create_subprocess_exec(
        *(nginx(), "-t", "-q", "-c", str(whole)), stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, said.decode()
    return said.decode()


@contextlib.asynccontextmanager
async def nginx_before(directory: Path, ports: tuple[int, int]) -> AsyncIterator[str]:
    """The URL of an nginx in front of gateways on these ports."""
    port = free_port()
    plain = re.search(r"    listen 443 ssl;\n(.*\n)    ssl_certificate .*\n.*\n.*\n", CONFIGURATION.read_text())
    assert plain is not None
    changes = {plain[0]: f"    listen 127.0.0.1:{port};\n{plain[1]}"}
    changes |= {f"127.0.0.1:{8001 + number}": f"127.0.0.1:{ours}" for number, ours in enumerate(ports)}
    whole = configured(directory, changes)
    process = await asyncio.create_subprocess_exec(nginx(), "-c", str(whole), stdin=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(30):
            while not await _listens(port):
                assert process.returncode is None, (directory / "nginx-error.log").read_text()
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
