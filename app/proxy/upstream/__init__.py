"""Which transport speaks to the upstream: chosen here, by `IRG_UPSTREAM_TRANSPORT`, and nowhere else."""

from __future__ import annotations

from app.proxy.upstream.port import Upstream
from app.settings import Settings


def make_upstream(settings: Settings) -> Upstream:
    """The transport that the settings ask for."""
    from app.proxy.upstream.httpx import HttpxUpstream

    return HttpxUpstream.from_settings(settings)
