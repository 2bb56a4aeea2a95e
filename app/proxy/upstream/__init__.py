"""Which transport speaks to the upstream: chosen here, by `IRG_UPSTREAM_TRANSPORT`, and nowhere else."""

from __future__ import annotations

from app.proxy.upstream.connecting import connecting
from app.proxy.upstream.port import Upstream
from app.settings import Settings


def make_upstream(settings: Settings) -> Upstream:
    """The transport that the settings ask for."""
    if settings.upstream_transport == "direct":
        from app.proxy.upstream.direct import DirectUpstream

        return DirectUpstream(connecting(settings))
    from app.proxy.upstream.httpx import HttpxUpstream

    return HttpxUpstream(connecting(settings))
