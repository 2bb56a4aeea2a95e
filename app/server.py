"""Runs the gateway: uvicorn with the guard, and the order of starting and ending.

Called by the commands `serve` and `demo`. Sources: uvicorn's `Server` (its signal handling
re-raises a signal after `serve`, which would kill the process before the ledger is closed;
hence our own).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import uvicorn

from app.core.value import Value
from app.main import Gateway
from app.proxy.guard import GuardProtocol, Limits, Places, guard_protocol
from app.proxy.guard.limits import HEAD_SECONDS_MAX
from app.proxy.upstream import make_upstream
from app.settings import AdminToken, Settings
from app.settings.shown import settings_in_force
from app.signals import Signals
from app.sockets import bind_tcp, unix_socket, waiting_connections
from app.store.lock import running_holder
from app.store.port import StoreLocked
from app.telemetry import get_logger
from app.watchdog import Watchdog
from app.wiring import Services, open_services

# Downstream connections stay open this long between requests: longer than any common load balancer's.
KEEP_ALIVE_SECONDS = 75

# uvloop takes one connection in each turn of the loop. So a hundred clients that came at once would be served one after
# the other, with a commit for each. Up to so many more are taken with it.
MORE_AT_ONCE_MAX = 64

# A command that opened the ledger itself is done by then.
COMMAND_WAIT_SECONDS = 10

log = get_logger("server")


class Ready(Value, frozen=True):
    """What `on_ready` is told once connections are taken."""

    gateway: Gateway
    url: str  # http(s)://host:port as bound
    socket_path: Path
    stop: Callable[[], None]  # what a signal does
    places: Places  # of the connections


class Server(uvicorn.Server):
    """uvicorn's server with the gateway's way of ending: tell, wait, grace, drain; a second signal ends at once."""

    def __init__(
        self,
        config: uvicorn.Config,
        protocol: type[GuardProtocol],
        local: socket.socket,
        *,
        delay_seconds: float,
        grace_seconds: float,
        on_signal: Callable[[], None],
        on_second_signal: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._protocol = protocol
        self._local = local
        self._delay_seconds = delay_seconds
        self._grace_seconds = grace_seconds
        self._on_signal = on_signal
        self._on_second_signal = on_second_signal
        self._signals = 0
        self._ending = asyncio.Event()
        self._greetings: set[asyncio.Task[object]] = set()  # connections on their way to a protocol
        self.on_started: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Also listens on the Unix socket: never with TLS, since its file permission is the authority.

        uvicorn's own way of listening would give a client a minute for its TLS handshake.
        """
        await super().startup([])
        loop, tls, backlog = asyncio.get_running_loop(), self.config.ssl, self.config.backlog
        for tcp in sockets or ():
            self.servers.append(
                await loop.create_server(
                    partial(self._connection_and_more, tcp),
                    sock=tcp,
                    ssl=tls,
                    backlog=backlog,
                    ssl_handshake_timeout=HEAD_SECONDS_MAX if tls is not None else None,
                )
            )
        self.servers.append(await loop.create_unix_server(self._connection, sock=self._local))
        self.on_started()

    def _connection(self) -> GuardProtocol:
        return self._protocol(self.config, self.server_state, self.lifespan.state)

    def _connection_and_more(self, listening: socket.socket) -> GuardProtocol:
        """For the connection that the loop has taken of this listener; those that wait behind it are taken as well."""
        for sock in waiting_connections(listening, MORE_AT_ONCE_MAX):
            self._greet(sock, self.config.ssl)
        return self._connection()

    def _greet(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Gives a connection that we took ourselves its protocol, as the loop does with what it takes."""
        seconds = HEAD_SECONDS_MAX if tls is not None else None
        loop = asyncio.get_running_loop()
        greeting = loop.connect_accepted_socket(self._connection, sock, ssl=tls, ssl_handshake_timeout=seconds)
        task: asyncio.Task[object] = loop.create_task(_whatever_comes_of_it(greeting))
        self._greetings.add(task)
        task.add_done_callback(self._greetings.discard)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: what uvicorn serves ends before the ledger does, and a signal in between must not kill it."""
        yield

    async def main_loop(self) -> None:
        """Sleeps until it is told to end: the ten looks a second of uvicorn's loop have nothing to see here."""
        await self._ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Within the grace. Not uvicorn's own: that logs that it cancels tasks, and only `Inflight.drain` ends ours."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._grace_seconds):
                await self._stop_listening(sockets or [])
                await super().shutdown(sockets)

    async def _stop_listening(self, sockets: list[socket.socket]) -> None:
        """Whoever is connected when the listener closes is served, also those whom nobody has greeted yet."""
        waiting: list[tuple[socket.socket, ssl.SSLContext | None]]
        waiting = [(sock, None) for sock in waiting_connections(self._local)]
        for listening in sockets:
            listening.listen(0)  # who comes between the last that is taken and the close is reset: one or two, no crowd
            waiting += [(sock, self.config.ssl) for sock in waiting_connections(listening)]
        for server in self.servers:
            server.close()
        for sock, tls in waiting:
            self._greet(sock, tls)
        await asyncio.gather(*self._greetings, return_exceptions=True)

    def stop(self) -> None:
        """The first call begins the shutdown, the second ends it."""
        self._signals += 1
        if self._signals == 1:
            log.info("shutting_down", delay_seconds=self._delay_seconds)
            self._on_signal()
            self._protocol.ending = True  # of every connection, also of those that are yet to be made
            asyncio.get_running_loop().call_later(self._delay_seconds, self._exit)
        else:
            self.force_exit = True
            self._on_second_signal()
            self._exit()

    def _exit(self) -> None:
        self.should_exit = True
        self._ending.set()


async def _whatever_comes_of_it(greeting: Awaitable[object]) -> None:
    """A client may be gone, or fail its handshake."""
    with contextlib.suppress(OSError):
        await greeting


async def serve_gateway(
    settings: Settings,
    *,
    admin_token: AdminToken,
    on_ready: Callable[[Ready], None] | None = None,
    read_key: Callable[[], bytes | None] | None = None,
) -> None:
    """Serves until a signal ends it. `read_key`: the upstream key as it is set now, asked at SIGHUP.

    Raises: what `open_services` raises, `OSError` for a taken port.
    """
    in_force, tcp = settings_in_force(settings), bind_tcp(settings.host, settings.port)
    with contextlib.closing(tcp), Signals().heard() as signals:
        settings = settings.model_copy(update={"port": tcp.getsockname()[1]})  # URLs name the port found, not 0
        services = await _open_services(settings, admin_token, signals)
        if services is None:
            return
        await services.audit.note_settings(in_force)
        gateway = Gateway(services, make_upstream(settings))
        with unix_socket(settings.database_path) as (local, socket_path):
            url = _url(settings, tcp)
            services.store.announce(socket_path=socket_path, url=url)
            protocol = guard_protocol(set(), _limits(settings))
            server = _server(settings, gateway, protocol, local)
            ready = Ready(gateway, url, socket_path, server.stop, protocol.limits.places)
            server.on_started = partial(_report_ready, ready, on_ready)
            signals.lead_to(stop=server.stop, hang_up=lambda: _renew_key(gateway, read_key))
            with Watchdog():
                gateway.begin()
                try:
                    await gateway.catalog.recall()
                    await server.serve(sockets=[tcp])
                finally:
                    await gateway.end()


async def _open_services(settings: Settings, admin_token: AdminToken, signals: Signals) -> Services | None:
    """Waits for a command that is at work on the ledger (it has no socket), not for another gateway.

    Otherwise `docker compose up -d` and a command right after it would end the gateway, and with it the command.
    Returns None when a signal came meanwhile. Raises: what `open_services` raises.
    """
    deadline = asyncio.get_running_loop().time() + COMMAND_WAIT_SECONDS
    while not signals.ending:
        try:
            services = await open_services(settings, admin_token=admin_token)
        except StoreLocked:
            holder = running_holder(settings.database_path)
            serving = holder is not None and holder.socket is not None
            if serving or asyncio.get_running_loop().time() > deadline:
                raise
        else:
            if not signals.ending:
                return services
            await services.aclose()
        await asyncio.sleep(0.05)
    return None


def _report_ready(ready: Ready, on_ready: Callable[[Ready], None] | None) -> None:
    log.info("ready", url=ready.url, socket=str(ready.socket_path))
    if on_ready is not None:
        on_ready(ready)


def _renew_key(gateway: Gateway, read_key: Callable[[], bytes | None] | None) -> None:
    """Takes the upstream key anew, if the settings hold one."""
    key = read_key() if read_key is not None else None
    if key is None:
        log.error("upstream_key_not_renewed", message="The settings hold no usable key; the old one stays.")
        return
    gateway.renew_key(key)
    log.info("upstream_key_renewed")


def _config(settings: Settings, gateway: Gateway, protocol: type[GuardProtocol]) -> uvicorn.Config:
    return uvicorn.Config(
        gateway.app,
        http=protocol,
        interface="asgi3",  # `Front` is no coroutine function: uvicorn would guess another
        ws="none",
        lifespan="off",
        loop="auto",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        ssl_certfile=settings.tls_cert_file,
        ssl_keyfile=settings.tls_key_file,
        backlog=2048,
    )


def _server(settings: Settings, gateway: Gateway, protocol: type[GuardProtocol], local: socket.socket) -> Server:
    return Server(
        _config(settings, gateway, protocol),
        protocol,
        local,
        delay_seconds=settings.shutdown_delay_seconds,
        grace_seconds=settings.shutdown_grace_seconds,
        on_signal=gateway.begin_drain,
        on_second_signal=gateway.hurry,
    )


def _limits(settings: Settings) -> Limits:
    places = Places(
        connections_max=settings.connections_max,
        per_client_max=settings.connections_per_address_max,
    )
    return Limits(places, settings.trusted_networks, settings.client_stall_seconds)


def _url(settings: Settings, tcp: socket.socket) -> str:
    scheme = "https" if settings.tls_cert_file else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{tcp.getsockname()[1]}"
